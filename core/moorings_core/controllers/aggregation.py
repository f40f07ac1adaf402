"""Cluster roles that are made of others: whatever role has the labels that an aggregationRule selects gives its rules to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import CLUSTER_ROLES
from moorings_core.ports.client import Update
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object
from moorings_core.registry.selectors import from_label_selector

from .framework import Intent, Result, View, Watch, WorkKey


class AggregationController:
    """Keeps the rules of aggregated roles; whoever writes such rules himself finds them replaced."""

    name = "clusterrole-aggregation-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads cluster roles; a change of one may concern every aggregated one."""
        return (Watch(CLUSTER_ROLES, _aggregated),)

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Give a role the rules of those it selects, each once, in the order of selectors and names."""
        role = view.get(CLUSTER_ROLES, key[1])
        if role is None or not role.get("aggregationRule"):
            return Result()
        rules: list[Object] = []
        for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
            chosen = from_label_selector(selector)
            for other in sorted(view.all(CLUSTER_ROLES), key=lambda o: str(o["metadata"]["name"])):
                if other["metadata"]["name"] != key[1] and chosen.matches(other["metadata"].get("labels") or {}):
                    rules += [rule for rule in other.get("rules") or () if rule not in rules]
        if rules == (role.get("rules") or []):
            return Result()
        return Result([Intent(Update(CLUSTER_ROLES, {**role, "rules": rules}), settled_by=(NotFound,))])


def _aggregated(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    for role in view.all(CLUSTER_ROLES):
        if role.get("aggregationRule"):
            yield ("", role["metadata"]["name"])
