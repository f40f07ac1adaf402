"""ServiceAccount: every pod runs as an account of its namespace, has its token and its pull secrets, and no others if so marked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

from moorings_core.api.cache import Cache, Change
from moorings_core.ports.objects import Key, Object
from moorings_core.registry.pod_references import secrets

from .attributes import Attributes
from .plugin import Step, World

DEFAULT = "default"
MIRROR = "kubernetes.io/config.mirror"
ENFORCE_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_VOLUME = "kube-api-access-"
NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
TRUE = ("1", "t", "T", "true", "TRUE", "True")
PATIENCE_SECONDS = 1.5
"""How long a pod waits for the default account of a namespace that is new; upstream asks ten times with about 150 ms between."""


async def wait_for_default(cache: Cache, namespace: str, pod: Object) -> None:
    """Return when the account that a pod runs as is there, or will not come: a controller makes the default one of each namespace."""
    accounts, key = cache.collection("", "serviceaccounts"), Key(namespace, DEFAULT)
    spec, metadata = pod.get("spec"), pod.get("metadata")
    if accounts.get(key) is not None or not isinstance(spec, dict) or not isinstance(metadata, dict):
        return
    if (spec.get("serviceAccountName") or DEFAULT) != DEFAULT or MIRROR in (metadata.get("annotations") or ()):
        return
    if cache.collection("", "namespaces").get(Key("", namespace)) is None:
        return
    made = asyncio.Event()

    def look(change: Change) -> None:
        if change.key == key and change.new is not None:
            made.set()

    accounts.listeners[look] = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await made.wait()
    except TimeoutError:
        return  # the plugin says what is missing
    finally:
        del accounts.listeners[look]


def fill_in(world: World, a: Attributes) -> None:
    """Give a pod its account with what that carries. Raises Forbidden."""
    pod = a.new
    if MIRROR in (pod["metadata"].get("annotations") or {}):
        return check(world, a)
    spec = pod["spec"]
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"] = DEFAULT
    account = _account(world, a, spec["serviceAccountName"])
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken")
    if wanted is not False:
        _mount_token(spec)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [{"name": s.get("name", "")} for s in account["imagePullSecrets"]]
    return check(world, a)


def check(world: World, a: Attributes) -> None:
    """Refuse a pod whose account is not there, or does not know the secrets that the pod uses. Raises Forbidden."""
    pod = a.new
    if MIRROR in (pod["metadata"].get("annotations") or {}):
        _check_mirror(a, pod["spec"])
        return
    name = pod["spec"].get("serviceAccountName")
    if not name:
        raise a.forbidden(f"no service account specified for pod {a.key.namespace}/{pod['metadata'].get('name', '')}")
    account = _account(world, a, name)
    if (account["metadata"].get("annotations") or {}).get(ENFORCE_MOUNTABLE) not in TRUE:
        return
    problem = next(_foreign_secrets(account, pod["spec"], ephemeral=a.subresource == "ephemeralcontainers"), None)
    if problem:
        raise a.forbidden(problem)


def _account(world: World, a: Attributes, name: str) -> Object:
    namespace = a.key.namespace
    found = world.cache.collection("", "serviceaccounts").get(Key(namespace, name))
    if found is None:
        raise a.forbidden(f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found')
    return found.object


def _check_mirror(a: Attributes, spec: Object) -> None:
    if spec.get("serviceAccountName"):
        raise a.forbidden("a mirror pod may not reference service accounts")
    if secrets({"spec": spec}):
        raise a.forbidden("a mirror pod may not reference secrets")
    sources = (s for v in spec.get("volumes") or () for s in (v.get("projected") or {}).get("sources") or ())
    if any("serviceAccountToken" in s for s in sources):
        raise a.forbidden("a mirror pod may not use ServiceAccountToken volume projections")


def _container_secrets(container: Object) -> Iterator[tuple[str, str]]:
    """Yield (where, secret) of the environment of a container."""
    for entry in container.get("env") or ():
        if reference := (entry.get("valueFrom") or {}).get("secretKeyRef"):
            yield f"envVar {entry['name']}", reference.get("name", "")
    for entry in container.get("envFrom") or ():
        if entry.get("secretRef"):
            yield "envFrom", entry["secretRef"].get("name", "")


def _foreign_secrets(account: Object, spec: Object, *, ephemeral: bool) -> Iterator[str]:
    """Yield why secrets that the account does not name may not be used."""
    mountable, who = {s.get("name") for s in account.get("secrets") or ()}, account["metadata"]["name"]
    reason = f"is not allowed because service account {who} does not reference that"
    fields = (
        {"ephemeralContainers": "ephemeral container"} if ephemeral else {"initContainers": "init container", "containers": "container"}
    )
    for volume in () if ephemeral else spec.get("volumes") or ():
        name = (volume.get("secret") or {}).get("secretName")
        if "secret" in volume and name not in mountable:
            yield f'volume with secret.secretName="{name}" {reason} secret'
    for field, word in fields.items():
        for container in spec.get(field) or ():
            for where, name in _container_secrets(container):
                if name not in mountable:
                    yield f'{word} {container["name"]} with {where} referencing secret.secretName="{name}" {reason} secret'
    pulled = {s.get("name") for s in account.get("imagePullSecrets") or ()}
    for i, reference in enumerate(() if ephemeral else spec.get("imagePullSecrets") or ()):
        if reference.get("name") not in pulled:
            yield f'imagePullSecrets[{i}].name="{reference.get("name", "")}" {reason} imagePullSecret'


def _mount_token(spec: Object) -> None:
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    missing = [c for c in containers if not any(m.get("mountPath") == TOKEN_MOUNT for m in c.get("volumeMounts") or ())]
    if not missing:
        return
    there = next((v["name"] for v in spec.get("volumes") or () if v.get("name", "").startswith(TOKEN_VOLUME)), "")
    name = there or TOKEN_VOLUME + "".join(random.choices(NAME_LETTERS, k=5))
    for container in missing:
        mounts = container.get("volumeMounts") or []
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": TOKEN_MOUNT}]
    if there:
        return
    token = {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    authority = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [token, authority, {"downwardAPI": {"items": [namespace]}}]
    spec["volumes"] = [*(spec.get("volumes") or ()), {"name": name, "projected": {"sources": sources, "defaultMode": 420}}]


MUTATE = (Step(fill_in, ("CREATE",), ("", "pods")),)
VALIDATE = (Step(check, ("CREATE",), ("", "pods")), Step(check, ("UPDATE",), ("", "pods"), ("ephemeralcontainers",)))
