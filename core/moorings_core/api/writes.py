"""Create, update, patch and delete: from a decoded object to a commit. The same for HTTPS and in-process callers.

A write reads the cache, decides, and commits with the revision it read as precondition; when somebody was faster an unconditional
write starts over and a conditional one answers Conflict.
"""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import orjson

from moorings_core.api.patch import PatchDoesNotFit, PatchError, json_patch, merge_patch, strategic_patch
from moorings_core.ports.client import PatchType
from moorings_core.ports.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Invalid,
    ServiceUnavailable,
)
from moorings_core.ports.objects import Key, Object, Resource, key_of
from moorings_core.ports.store import DeleteRecord, Operation, PreconditionFailed, PutRecord, Store, StoreUnavailable
from moorings_core.registry import defaults, forms, strategy, subresources
from moorings_core.registry.custom import definition
from moorings_core.registry.custom.kind import CustomVersion
from moorings_core.registry.kinds import Kind
from moorings_core.registry.schema import Schema, check_types, find_unknown, is_clean, prune
from moorings_core.registry.services import match_addresses, take_over
from moorings_core.registry.shape import fill
from moorings_core.registry.validation import FieldError, to_invalid, validate_create, validate_status, validate_update
from moorings_core.registry.validation.errors import invalid, required

from . import bodies, deletions, managing, problems
from .admission import Admission, Attributes
from .admission.service_account import NAME_LETTERS
from .apply.managers import APPLY, Manager, applied
from .cache import Cache, Collection, Stored, copied, encode, store_key
from .codec import now
from .context import Context
from .devices import admin_access, admin_access_given
from .extension.conversion import Converter, NeedsConversion
from .extension.dialer import EndpointDialer
from .scale import apply_scale, replicas_path, scale_of
from .services import ServiceAllocator

NAME_BASE_MOST, NAME_RANDOM = 58, 5
PATCH_OPTIONS = Resource("meta.k8s.io", "v1", "patchoptions", "PatchOptions", False)
NO_KIND = Resource("", "", "", "", False)
"""What upstream names in its answer to a patch that does not fit"""
NAME_TRIES, TRIES = 5, 1000
Change = Callable[[Object], Object]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pending:
    """A write that is decided and not yet committed: what the answer will be, and the operation (None: nothing to store)."""

    resource: Resource
    result: Object
    operation: Operation | None
    removed: bool = False
    custom: CustomVersion | None = None
    charge: Attributes | None = None
    """What is to be counted against quotas, if anything"""
    beside: tuple[Operation, ...] = ()
    """What belongs to the write and is committed with it: a Service's IPAddress objects and records of node ports"""


class Writer:
    """The write path."""

    def __init__(
        self, cache: Cache, store: Store, admission: Admission, services: ServiceAllocator, converter: Converter | None = None
    ) -> None:
        self._cache, self._store, self.admission, self._services = cache, store, admission, services
        self._quotas = admission.quotas
        self._converter = converter or Converter(EndpointDialer(cache))

    async def create(self, kind: Kind, namespace: str, body: Object, context: Context, *, applying: bool = False) -> Object:
        """Create an object and return it as stored; body becomes part of it. applying: it says itself who manages its fields."""
        generated = not body.get("metadata", {}).get("name") and body.get("metadata", {}).get("generateName")
        again = generated or _is_service(kind.resource)
        await self.admission.settle(kind.resource, namespace, body)
        for attempt in range(NAME_TRIES):
            pending = await self.plan_create(kind, namespace, copied(body) if again else body, context, applying=applying)
            try:
                return await self.commit(pending, context)
            except AddressLost:  # another server gave the address or the port to its Service first
                if attempt == NAME_TRIES - 1:
                    raise
            except AlreadyExists:
                if not generated or attempt == NAME_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def plan_create(self, kind: Kind, namespace: str, obj: Object, context: Context, *, applying: bool = False) -> Pending:
        """Decide on a creation; obj becomes part of the result. applying: it says itself who manages its fields."""
        resource = kind.resource
        self.prepare_body(kind, obj, context)
        metadata = obj["metadata"]
        if resource.namespaced:
            _match_namespace(metadata, namespace)
        else:
            metadata.pop("namespace", None)
        if metadata.get("resourceVersion"):
            raise ApiError("resourceVersion should not be set on objects to be created", reason="")
        for field in (*strategy.OWNED, "resourceVersion"):
            metadata.pop(field, None)
        defaults.apply(resource, obj)
        if not applying:
            managing.begin(kind, obj, context)
        key = Key(metadata.get("namespace", ""), metadata.get("name", ""))
        attributes = Attributes("CREATE", resource, key, obj, None, context)
        await self.admission.mutate(attributes)
        obj = attributes.new
        metadata = obj["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = _generate(metadata["generateName"])
        metadata["uid"], metadata["creationTimestamp"] = _uid(), now()
        obj, kept = self._prepared(resource, obj, strategy.prepare_create)
        attributes.object = obj
        if kind.custom is not None:
            kind.custom.prepare_create(obj)
        elif kind.schema is not None:
            fill(obj, kind.schema)
        if context.guard is not None:
            context.guard("CREATE", resource, "", obj, None)
        key = attributes.key = Key(key.namespace, metadata.get("name", ""))
        exists = self._collection(resource).get(key)
        if _is_service(resource):
            if not key.name:  # which it is refused for
                match_addresses(obj["spec"], None)
            elif exists is None:
                self._services.allocate(obj, dry_run=context.options.dry_run)
            else:
                take_over(obj["spec"], exists.object["spec"])
        wrong = [*admin_access(self._cache, resource, obj), *validate_create(resource, obj)]
        self._check(resource, obj, [*wrong, *bodies.judged(kind, obj, None, context, wrong)])
        if exists is not None:  # an object that is wrong is told so first
            raise problems.already_exists(resource, key.name)
        charge = await self._validate(attributes)
        put = PutRecord(store_key(resource.group, resource.plural, key), encode(bodies.to_store(kind, obj, kept)), expect=0)
        return Pending(resource, obj, put, custom=kind.custom, charge=charge, beside=self._beside(resource, obj))

    async def update(self, kind: Kind, key: Key, body: Object, context: Context, subresource: str = "") -> Object:
        """Replace an object, or create it where the kind allows that."""
        given = body.get("metadata", {})
        _match_name(given, key)
        conditional = bool(given.get("resourceVersion"))
        if not conditional and not strategy.allows_unconditional_update(kind.resource):
            self._stored(kind.resource, key)  # that it is not there is told first
            raise to_invalid(replace(kind.resource, kind=kind.resource.plural), key.name, [_required_version()])
        change = self.replacement(kind, key, body)
        return await self._change(kind, key, change, context, subresource, conditional=conditional)

    def replacement(self, kind: Kind, key: Key, body: Object) -> Change:
        """Return the change that puts body in the place of the stored object, if that is still the one it was made from."""
        given = body.get("metadata", {})

        def change(old: Object) -> Object:
            version, uid = given.get("resourceVersion"), given.get("uid")
            if version and version != old["metadata"]["resourceVersion"]:
                raise problems.conflict(kind.resource, key.name)
            if uid and uid != old["metadata"]["uid"]:
                text = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old['metadata']['uid']}"
                raise problems.conflict(kind.resource, key.name, text)
            return copied(body)

        return change

    async def patch(self, kind: Kind, key: Key, patch: Any, patch_type: PatchType, context: Context, subresource: str = "") -> Object:
        """Change part of an object."""
        if patch_type == "apply":
            return (await self.apply(kind, key, patch, context, subresource))[0]
        metadata = patch.get("metadata") if isinstance(patch, Mapping) else None
        conditional = isinstance(metadata, Mapping) and bool(metadata.get("resourceVersion"))
        change = self.patching(kind, key, patch, patch_type, strict=context.options.field_validation == "Strict")
        return await self._change(kind, key, change, context, subresource, conditional=conditional)

    async def apply(self, kind: Kind, key: Key, config: Any, context: Context, subresource: str = "") -> tuple[Object, bool]:
        """Apply a configuration server-side; return (object, whether it is new). Raises BadRequest, Conflict."""
        if not context.options.field_manager:
            raise to_invalid(PATCH_OPTIONS, "", [required("fieldManager", "is required for apply patch")])
        if not isinstance(config, dict) or not isinstance(config.get("metadata", {}), dict):
            raise BadRequest("the configuration is not an object")
        manager = Manager(context.options.field_manager, APPLY, kind.resource.api_version, subresource)
        config = copied(config)
        config.setdefault("metadata", {}).setdefault("name", key.name)
        _match_name(config["metadata"], key)
        self.prepare_body(kind, config, context, partial=True)
        if not subresource and self._collection(kind.resource).get(key) is None:
            empty: Object = {"metadata": {}}
            new = applied(empty, config, kind.schema, manager, force=True, now=now())
            return await self.create(kind, key.namespace, new, context, applying=True), True

        def change(old: Object) -> Object:
            version = config["metadata"].get("resourceVersion")
            if version and version != old["metadata"]["resourceVersion"]:
                raise problems.conflict(kind.resource, key.name)
            return copied(applied(old, config, kind.schema, manager, force=context.options.force, now=now()))

        return await self._change(kind, key, change, context, subresource, conditional=False, applying=True), False

    def patching(self, kind: Kind, key: Key, patch: Any, patch_type: PatchType, *, strict: bool = False) -> Change:
        """Return the change that a patch makes."""
        return lambda old: self._patched(kind, key, old, patch, patch_type, strict)

    async def mutate(self, kind: Kind, key: Key, change: Change, context: Context, subresource: str = "") -> Object:
        """Change an object by a function of its stored state, as often as it takes to win."""
        return await self._change(kind, key, change, context, subresource, conditional=False)

    async def delete(self, kind: Kind, key: Key, context: Context) -> tuple[Object, bool]:
        """Delete an object; return (object, whether it is gone for good)."""

        async def attempt() -> tuple[Object, bool]:
            pending = await self.plan_delete(kind, key, context)
            return await self.commit(pending, context), pending.removed

        return await self.retrying(attempt, once=bool(context.options.version))

    async def plan_delete(self, kind: Kind, key: Key, context: Context, *, admitted: bool = False) -> Pending:
        """Decide on a deletion: at once, or marked for whoever holds a finalizer or runs the pod. admitted: nobody is to be asked."""
        resource, options = kind.resource, context.options
        stored = self._stored(resource, key)
        obj = stored.object
        if context.guard is not None:
            context.guard("DELETE", resource, "", None, obj)
        attributes = Attributes("DELETE", resource, key, None, obj if kind.custom else forms.shown(resource, obj), context)
        if not admitted:
            await self.admission.mutate(attributes)
        if options.uid and options.uid != obj["metadata"]["uid"]:
            text = f"the UID in the precondition ({options.uid}) does not match the UID in record ({obj['metadata']['uid']}). "
            raise problems.precondition(resource, key.name, text + "The object might have been deleted and then recreated")
        if options.version and options.version != (have := obj["metadata"]["resourceVersion"]):
            text = f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion in record ({have}). "
            raise problems.precondition(resource, key.name, text + "The object might have been modified")
        if not admitted:
            await self.admission.validate(attributes)
        place = store_key(resource.group, resource.plural, key)
        finalizers = deletions.finalizers(obj, options.propagation, strategy.default_propagation(resource))
        if (resource.group, resource.plural) == (definition.GROUP, definition.PLURAL) and "deletionTimestamp" not in obj["metadata"]:
            marked = definition.going(obj, finalizers, now())
            return Pending(resource, marked, PutRecord(place, encode(marked), stored.revision))
        grace = strategy.graceful_seconds(resource, obj, options.grace)
        if not finalizers and grace == 0 and not deletions.holds_namespace(resource, obj):
            record, beside = DeleteRecord(place, stored.revision), self._beside(resource, None, obj)
            return Pending(resource, strategy.deleted(resource, obj), record, removed=True, beside=beside)
        marked = deletions.marked(resource, obj, finalizers, grace)
        operation = None if marked == obj else PutRecord(place, encode(marked), stored.revision)
        return Pending(resource, marked, operation)

    async def commit(self, pending: Pending, context: Context) -> Object:
        """Store a decided write and return the object with its version. Raises Conflict, AlreadyExists, ServiceUnavailable."""
        if pending.operation is None or context.options.dry_run:
            self.settled(pending)
            return pending.result
        try:
            operation = await self._converted(pending, pending.operation)
            if pending.charge is None:
                revision, *rest = await self._store.commit([operation, *pending.beside])
                await self._cache.wait_for(max(revision, *rest) if rest else revision)
            else:
                revision = await self._quotas.commit(pending.charge, operation, pending.beside)
        except PreconditionFailed as error:
            await self._seen(max(error.have, self._store.revision))
            raise _lost(pending, error) from error
        except StoreUnavailable as error:
            raise ApiError(f"the write was not stored: {error}") from error
        except TimeoutError as error:
            raise ServiceUnavailable("the write is stored, but not yet visible here") from error
        finally:
            self.settled(pending)
        return self.settled_object(pending, revision)

    async def _seen(self, revision: int) -> None:
        """Wait until reads show what a write lost to, within bounds."""
        with contextlib.suppress(TimeoutError):
            await self._cache.wait_for(revision)

    async def _converted(self, pending: Pending, operation: Operation) -> Operation:
        """Return the operation with the object as the conversion webhook wants it stored; nearly all have none."""
        if pending.custom is None or pending.custom.webhook is None or not isinstance(operation, PutRecord):
            return operation
        return replace(operation, value=encode(await self._converter.stored(pending.custom, pending.result)))

    def settled(self, pending: Pending) -> None:
        """Give back what was reserved for a write that is now stored, or never will be."""
        self._give_back(pending.resource, pending.result)

    def _beside(self, resource: Resource, new: Object | None, old: Object | None = None) -> tuple[Operation, ...]:
        return tuple(self._services.records(new, old)) if _is_service(resource) else ()

    def _give_back(self, resource: Resource, obj: Object) -> None:
        if _is_service(resource):
            self._services.release(obj)

    def settled_object(self, pending: Pending, revision: int) -> Object:
        """Return the stored object of a committed write."""
        if pending.removed:
            return pending.result
        found = self._collection(pending.resource).get(key_of(pending.result))
        if found is not None and found.revision == revision and not self._converter.converts(pending.resource):
            return found.object
        metadata = {**pending.result["metadata"], "resourceVersion": str(revision)}
        return {**pending.result, "metadata": metadata}

    async def plan_change(
        self, kind: Kind, key: Key, change: Change, context: Context, subresource: str = "", *, applying: bool = False
    ) -> Pending:
        """Decide on an update or patch of the stored object; applying: the change keeps the managers itself."""
        resource = kind.resource
        stored = self._stored(resource, key)
        old = forms.shown(resource, stored.object) if kind.custom is None else self._converter.at_hand(kind.custom, stored.object)
        new = change(old)
        if subresource != "binding":  # that is made here, of what is stored
            self.prepare_body(kind, new, context)
            new["metadata"].setdefault("name", key.name)
            if resource.namespaced:
                _match_namespace(new["metadata"], key.namespace)
            defaults.apply(resource, new)
            if not applying:
                managing.go_on(kind, new, old, context, subresource)
        attributes = self._update_of(kind, key, new, old, context, subresource)
        if attributes is not None:
            await self.admission.mutate(attributes)
            scale = subresource == "scale"
            new = apply_scale(new, attributes.new, replicas_path(kind.custom)) if scale else attributes.new
        if kind.custom is None and kind.schema is not None:
            fill(new, kind.schema)
        before = forms.kept(old if kind.custom is not None else stored.object)
        new, kept = self._prepared(resource, new, lambda of, obj: strategy.prepare_update(of, obj, before, subresource))
        if kind.custom is not None:
            kind.custom.prepare_update(new, old, subresource)
        if context.guard is not None:
            context.guard("UPDATE", resource, subresource, new, old)
        if _is_service(resource) and subresource != "status":
            self._services.allocate(new, old, dry_run=context.options.dry_run)
        if subresource in ("resize", "ephemeralcontainers"):
            self._check(resource, new, [*validate_create(resource, new), *subresources.validate(new, old, subresource)])
        elif subresource == "status":
            self._check(resource, new, [*admin_access_given(self._cache, resource, new, old), *validate_status(resource, new, old)])
        elif subresource != "binding":
            self._check(resource, new, validate_update(resource, new, old))
        if kind.custom is not None:
            self._check(resource, new, bodies.judged(kind, new, old, context, (), subresource))
        charge = None
        if attributes is not None:
            attributes.object = scale_of(resource, new) if subresource == "scale" else new
            charge = await self._validate(attributes)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        place = store_key(resource.group, resource.plural, key)
        if deletions.finished(resource, new, subresource):
            return Pending(resource, new, DeleteRecord(place, stored.revision), removed=True, beside=self._beside(resource, None, old))
        if new == old and (kind.custom is None or stored.object["apiVersion"] == kind.custom.stored_version):
            return Pending(resource, old, None)
        put = PutRecord(place, encode(bodies.to_store(kind, new, kept)), stored.revision)
        return Pending(resource, new, put, custom=kind.custom, charge=charge, beside=self._beside(resource, new, old))

    @staticmethod
    def _prepared(resource: Resource, obj: Object, prepare: Callable[[Resource, Object], None]) -> tuple[Object, Object | None]:
        """Return an object as the strategy of its kind prepares it, and the form that is kept, where that is another."""
        form = forms.form_of(resource)
        if form is None:
            prepare(resource, obj)
            return obj, None
        kept = form.to_kept(obj)
        prepare(form.kept, kept)
        return form.from_kept(kept), kept

    @staticmethod
    def _update_of(kind: Kind, key: Key, new: Object, old: Object, context: Context, subresource: str) -> Attributes | None:
        """Return what admission sees of an update, or None for a binding, which is a creation to it."""
        resource = kind.resource
        if subresource == "binding":
            return None
        if subresource != "scale":
            return Attributes("UPDATE", resource, key, new, old, context, subresource)
        scales = (scale_of(resource, new), scale_of(resource, old))
        return Attributes("UPDATE", resource, key, *scales, context, subresource, kind=("autoscaling", "v1", "Scale"))

    async def _validate(self, attributes: Attributes) -> Attributes | None:
        """Let admission look at a write as it would be stored; return what is to be counted of it."""
        try:
            await self.admission.validate(attributes)
            return self._quotas.charge(attributes)
        except BaseException:
            self._give_back(attributes.resource, attributes.new)
            raise

    async def _change(
        self, kind: Kind, key: Key, change: Change, context: Context, subresource: str, *, conditional: bool, applying: bool = False
    ) -> Object:
        async def attempt() -> Object:
            return await self.commit(await self.plan_change(kind, key, change, context, subresource, applying=applying), context)

        return await self.retrying(attempt, once=conditional)

    async def retrying(self, attempt: Callable[[], Awaitable[T]], *, once: bool) -> T:
        """Attempt until it wins; a loss is told once the cache shows what was lost to. A conditional write has one attempt (once)."""
        for _ in range(TRIES):
            try:
                return await attempt()
            except NeedsConversion as need:
                await self._converter.resolve(need)
                continue
            except Conflict as error:
                cause = error.__cause__
                if once or not isinstance(cause, PreconditionFailed) or self._cache.revision < cause.have:
                    raise
                lost = error
        raise lost

    def prepare_body(self, kind: Kind, obj: Object, context: Context, *, partial: bool = False) -> None:
        """Check types and fields and drop what the schema does not know; partial: it is no whole object, and gets no defaults."""
        resource = kind.resource
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        if kind.custom is not None:
            bodies.match_custom(resource, obj)
        if obj["kind"] != resource.kind or obj["apiVersion"] != resource.api_version:
            raise BadRequest(f"{bodies.about(obj, resource)}: {self._strange(obj, resource)}")
        if kind.custom is not None:
            bodies.prepare_custom(kind.custom, resource, obj, context, partial=partial)
            return
        schema = kind.schema
        if schema is None or (is_clean(obj, schema) and not context.duplicates):
            obj.setdefault("metadata", {})
            return
        wrong = check_types(obj, schema)
        if wrong:
            raise BadRequest(f"{bodies.about(obj, resource)}: {wrong[0][1]}")
        if not isinstance(obj.get("metadata"), dict):
            obj["metadata"] = {}
        unknown = find_unknown(obj, schema)
        if unknown or context.duplicates:
            bodies.complain(unknown, bodies.about(obj, resource), context)
        clean = prune(obj, schema, zeros=partial)
        if clean is not obj:
            obj.clear()
            obj.update(clean)

    def _patched(self, kind: Kind, key: Key, old: Object, patch: Any, patch_type: PatchType, strict: bool) -> Object:
        new = apply_patch(old, patch, patch_type, kind.schema)
        if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
            raise BadRequest("the patch leaves no object")
        self._check_patched(kind, new, strict)
        if new["metadata"].get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            raise problems.conflict(kind.resource, key.name)
        if new["metadata"].get("uid") not in (None, "", old["metadata"]["uid"]):
            raise to_invalid(kind.resource, key.name, [invalid("metadata.uid", new["metadata"]["uid"], "field is immutable")])
        if new["metadata"].get("name") != key.name:
            raise BadRequest(f"the name of the object ({new['metadata'].get('name')}) does not match the name on the URL ({key.name})")
        return new

    @staticmethod
    def _check_patched(kind: Kind, new: Object, strict: bool) -> None:
        """Refuse a patch that makes something that is no object of the kind: the patch is wrong then, not the request."""
        if kind.schema is None or kind.custom is not None or is_clean(new, kind.schema):
            return
        wrong = [text for _, text in check_types(new, kind.schema)]
        if strict and not wrong and (unknown := find_unknown(new, kind.schema)):
            wrong = ["strict decoding error: " + ", ".join(f'unknown field "{name}"' for name in unknown)]
        if wrong:
            raise to_invalid(NO_KIND, "", [invalid("patch", orjson.dumps(new).decode(), wrong[0])])

    @staticmethod
    def _strange(obj: Object, resource: Resource) -> str:
        given = str(obj["apiVersion"])
        if given == resource.api_version or given.partition("/")[0] != resource.group:
            return f'no kind "{obj["kind"]}" is registered for version "{given}"'
        return f"the API version in the data ({given}) does not match the expected API version ({resource.api_version})"

    def _check(self, resource: Resource, obj: Object, errors: list[Any]) -> None:
        if errors:
            self._give_back(resource, obj)
            raise to_invalid(resource, obj["metadata"].get("name", ""), errors)

    def _stored(self, resource: Resource, key: Key) -> Stored:
        found = self._collection(resource).get(key)
        if found is None:
            raise problems.not_found(resource, key.name)
        return found

    def _collection(self, resource: Resource) -> Collection:
        return self._cache.collection(resource.group, resource.plural)


def apply_patch(document: Object, patch: Any, patch_type: PatchType, schema: Schema | None) -> Any:
    """Return a new document with a patch applied. Raises BadRequest for a malformed patch, Invalid for one that does not fit."""
    try:
        match patch_type:
            case "json":
                return json_patch(document, patch)
            case "merge":
                return copied(merge_patch(document, patch))
        return copied(strategic_patch(document, patch, schema))
    except PatchDoesNotFit as error:
        raise Invalid(f"the server rejected our request due to an error in our request: {error}", details={}) from error
    except PatchError as error:
        raise BadRequest(str(error)) from error


class AddressLost(Conflict):
    """Somebody else has taken an address or a node port that was free when the write was decided."""


def _lost(pending: Pending, error: PreconditionFailed) -> ApiError:
    name = pending.result["metadata"]["name"]
    if any(error.key == each.key for each in pending.beside):
        return AddressLost(f"the address or the node port of {name} was given to another Service meanwhile; please try again")
    if isinstance(pending.operation, PutRecord) and pending.operation.expect == 0:
        return problems.already_exists(pending.resource, name)
    return problems.not_found(pending.resource, name) if error.have == 0 else problems.conflict(pending.resource, name)


def _match_name(metadata: Object, key: Key) -> None:
    if metadata.get("name", key.name) != key.name:
        raise BadRequest(f"the name of the object ({metadata['name']}) does not match the name on the URL ({key.name})")


def _match_namespace(metadata: Object, namespace: str) -> None:
    given = metadata.setdefault("namespace", namespace)
    if given != namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")


def _generate(base: str) -> str:
    return base[:NAME_BASE_MOST] + "".join(random.choices(NAME_LETTERS, k=NAME_RANDOM))


def _uid() -> str:
    """A random UUID; it must be new, not secret, so the kernel need not be asked."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _is_service(resource: Resource) -> bool:
    return (resource.group, resource.plural) == ("", "services")


def _required_version() -> Any:
    return FieldError("FieldValueInvalid", "metadata.resourceVersion", "Invalid value: 0: must be specified for an update")
