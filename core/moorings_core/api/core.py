"""The API without a transport: cache, reads, writes and the subresources that are more than a part of an object."""

from __future__ import annotations

import functools
from dataclasses import replace

from moorings_core.client.resources import POD_DISRUPTION_BUDGETS
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.errors import ApiError, BadRequest
from moorings_core.ports.objects import Key, Object, Resource
from moorings_core.ports.store import Store
from moorings_core.registry.kinds import Kind, Registry, built_in

from . import problems
from .admission import Admission, Attributes
from .cache import Cache
from .context import Context, delete_options
from .eviction import Evictions, with_condition
from .extension.conversion import Converter
from .extension.dialer import EndpointDialer
from .reads import Reader
from .scale import apply_scale, replicas_path, scale_of
from .services import ServiceAllocator
from .writes import Pending, Writer

PODS = Resource("", "v1", "pods", "Pod", True)


class ApiCore:
    """What HTTPS and in-process clients share."""

    def __init__(self, config: ClusterConfig, store: Store, registry: Registry | None = None) -> None:
        self.config, self.store = config, store
        self.registry = registry or built_in()
        self.cache = Cache(store)
        self.reader = Reader(self.cache, store)
        self.services = ServiceAllocator(self.cache, config.services)
        self.dialer = EndpointDialer(self.cache)
        self.converter = Converter(self.dialer)
        self.admission = Admission(self.cache, store, config, self.registry, self.dialer)
        self.writer = Writer(self.cache, store, self.admission, self.services, self.converter)
        self.evictions = Evictions(self.cache, self.writer)

    def kind(self, resource: Resource) -> Kind:
        """Return a kind by its resource. Raises NotFound."""
        found = self.registry.lookup(resource.group, resource.version, resource.plural)
        if found is None:
            raise problems.no_resource()
        return found

    async def get(self, resource: Resource, key: Key, subresource: str = "") -> Object:
        """Return an object, or its scale."""
        (found,) = await self.converter.present(resource, [self.reader.get(resource, key).object])
        if subresource == "scale":
            return scale_of(resource, found)
        return found

    async def create_subresource(self, resource: Resource, key: Key, name: str, body: Object, context: Context) -> Object:
        """Create a binding or an eviction."""
        if name == "eviction" and resource.plural == "pods":
            await self._evict(resource, key, body, context)
        else:
            pending = await self.plan_subresource(resource, key, name, body, context)
            await self.writer.commit(pending, context)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    async def plan_subresource(self, resource: Resource, key: Key, name: str, body: Object, context: Context) -> Pending:
        """Decide on a binding of a pod."""
        kind = self.kind(resource)
        if resource.plural != "pods" or name != "binding":
            raise problems.method_not_allowed()
        attributes = Attributes("CREATE", resource, key, body, None, context, name, kind=("", "v1", "Binding"))
        await self.admission.mutate(attributes)
        change = functools.partial(_bound, resource, key, binding=attributes.new)
        pending = await self.writer.plan_change(kind, key, change, context, "binding")
        await self.admission.validate(attributes)
        return pending

    async def admit(self, resource: Resource, key: Key, subresource: str, body: Object, context: Context) -> Object:
        """Return a body that is answered and not stored as admission makes it. Raises Forbidden and what webhooks say."""
        sub = self.kind(resource).subresources[subresource]
        attributes = Attributes("CREATE", resource, key, body, None, context, subresource, kind=(sub.group, sub.version, sub.kind))
        await self.admission.mutate(attributes)
        await self.admission.validate(attributes)
        return attributes.new

    async def connect(self, resource: Resource, key: Key, subresource: str, kind: str, options: Object, context: Context) -> None:
        """Let admission look at a connection that somebody wants. Raises Forbidden and what webhooks say."""
        body = {"kind": kind, "apiVersion": "v1", **options}
        attributes = Attributes("CONNECT", resource, key, body, None, context, subresource, kind=("", "v1", kind))
        await self.admission.connect(attributes)

    async def _evict(self, resource: Resource, key: Key, body: Object, context: Context) -> None:
        attributes = Attributes("CREATE", resource, key, body, None, context, "eviction", kind=("policy", "v1", "Eviction"))
        await self.admission.mutate(attributes)
        if (attributes.new.get("metadata") or {}).get("name", key.name) != key.name:
            raise BadRequest("name in URL does not match name in Eviction object")
        await self.admission.validate(attributes)
        given = attributes.new.get("deleteOptions") or {}
        await self.evictions.evict(self.kind(resource), self.kind(POD_DISRUPTION_BUDGETS), key, _with_options(context, given))

    async def update_scale(self, resource: Resource, key: Key, scale: Object, context: Context) -> Object:
        """Set the replicas of a workload through its scale."""
        version = scale.get("metadata", {}).get("resourceVersion")
        custom = self.kind(resource).custom
        place = replicas_path(custom)

        def change(old: Object) -> Object:
            if version and version != old["metadata"]["resourceVersion"]:
                raise problems.conflict(resource, key.name)
            return apply_scale(old, scale, place)

        return scale_of(resource, await self.writer.mutate(self.kind(resource), key, change, context, "scale"))


def binding_of(resource: Resource) -> Resource:
    """Return how answers name the binding of a pod."""
    return replace(resource, plural=f"{resource.plural}/binding")


def _with_options(context: Context, body: Object) -> Context:
    """Return a request with the options of a deletion that it carries; what it warns of is the same."""
    return replace(context, options=delete_options(body, context.options))


def _bound(resource: Resource, key: Key, pod: Object, binding: Object) -> Object:
    node = (binding.get("target") or {}).get("name")
    if not node:
        raise ApiError("target.name: Required value", reason="")
    uid = (binding.get("metadata") or {}).get("uid")
    if uid and uid != pod["metadata"]["uid"]:
        raise problems.conflict(resource, key.name, f"the uid of the pod is {pod['metadata']['uid']}, not {uid}")
    if "deletionTimestamp" in pod["metadata"]:
        raise problems.conflict(binding_of(resource), key.name, f"pod {key.name} is being deleted, cannot be assigned to a host")
    if pod["spec"].get("nodeName"):
        text = f'pod {key.name} is already assigned to node "{pod["spec"]["nodeName"]}"'
        raise problems.conflict(binding_of(resource), key.name, text)
    metadata, given = dict(pod["metadata"]), binding.get("metadata") or {}
    for field in ("labels", "annotations"):
        if given.get(field):
            metadata[field] = {**(metadata.get(field) or {}), **given[field]}
    status = with_condition(pod, {"type": "PodScheduled", "status": "True"})
    status.pop("nominatedNodeName", None)  # it was a hint for others, which ends here
    return {**pod, "metadata": metadata, "spec": {**pod["spec"], "nodeName": node}, "status": status}
