"""What every namespace has from birth: the service account "default" and the ConfigMap with the cluster's CA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS
from moorings_core.ports.client import Create, Update
from moorings_core.ports.errors import AlreadyExists, NotFound
from moorings_core.ports.objects import Object

from .framework import Intent, Result, View, Watch, WorkKey

ROOT_CA = "kube-root-ca.crt"
DESCRIPTION = "The CA that signed the API server's certificate, for pods that call it by its cluster-internal name or address."


class ServiceAccountController:
    """Keeps the account that pods run as when they name none."""

    name = "service-account-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads namespaces and accounts."""
        return (Watch(NAMESPACES, _namespace), Watch(SERVICE_ACCOUNTS, _if_lost("default")))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Make the account where it is missing."""
        if not _is_active(view, key[1]) or view.get(SERVICE_ACCOUNTS, "default", key[1]) is not None:
            return Result()
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": key[1]}}
        return Result([Intent(Create(SERVICE_ACCOUNTS, account), settled_by=(AlreadyExists,))])


class RootCaPublisher:
    """Keeps `kube-root-ca.crt`; whoever edits it finds it as it was. ca: PEM text."""

    name = "root-ca-certificate-publisher-controller"

    def __init__(self, ca: str) -> None:
        self._ca = ca

    def watches(self) -> Sequence[Watch]:
        """Reads namespaces and config maps."""
        return (Watch(NAMESPACES, _namespace), Watch(CONFIG_MAPS, _if_lost(ROOT_CA)))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Make or mend the map."""
        if not _is_active(view, key[1]):
            return Result()
        found, data = view.get(CONFIG_MAPS, ROOT_CA, key[1]), {"ca.crt": self._ca}
        if found is None:
            annotations = {"kubernetes.io/description": DESCRIPTION}
            metadata = {"name": ROOT_CA, "namespace": key[1], "annotations": annotations}
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            return Result([Intent(Create(CONFIG_MAPS, made), settled_by=(AlreadyExists,))])
        if found.get("data") == data:
            return Result()
        return Result([Intent(Update(CONFIG_MAPS, {**found, "data": data}), settled_by=(NotFound,))])


def _is_active(view: View, name: str) -> bool:
    namespace = view.get(NAMESPACES, name)
    return namespace is not None and not namespace["metadata"].get("deletionTimestamp")


def _namespace(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    return [("", new["metadata"]["name"])] if new is not None and old is None else []


class _if_lost:
    """The mapping of a Watch: the namespace of an object of that name that changed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
        obj = new if new is not None else old
        if obj is not None and obj["metadata"]["name"] == self._name and old is not None:
            yield ("", obj["metadata"]["namespace"])
