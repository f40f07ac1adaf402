"""Nobody gives away by a role or binding what he does not hold himself, unless he may `escalate` the role or `bind` it.

Source: upstream's policy-based storage of roles and bindings.
"""

from __future__ import annotations

from dataclasses import dataclass

from moorings_core.api import problems
from moorings_core.api.context import User
from moorings_core.api.paths import Target
from moorings_core.ports.errors import Forbidden
from moorings_core.ports.objects import Object, Resource

from .attributes import RBAC, Attributes, forbidden, quoted, quoted_list
from .authorizer import Access
from .rbac import Rbac
from .rules import described, missing

ROLES, BINDINGS = ("roles", "clusterroles"), ("rolebindings", "clusterrolebindings")
EVERYTHING = ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]})
FOR_COLLECTOR = ("ownerReferences", "finalizers")
KEPT_BY_SERVER = ("managedFields", "resourceVersion", "generation")


@dataclass(frozen=True, slots=True)
class Escalation:
    """The guard of one request to write a role or binding."""

    access: Access
    rbac: Rbac
    user: User
    target: Target

    def __call__(self, operation: str, resource: Resource, subresource: str, new: Object | None, old: Object | None) -> None:
        """Refuse what gives more than the user has. Raises Forbidden, NotFound."""
        if new is None or (old is not None and _only_for_collector(new, old)):
            return
        if resource.plural in ROLES:
            self._role(resource, new, old)
        elif resource.plural in BINDINGS:
            self._binding(resource, new)

    def _role(self, resource: Resource, new: Object, old: Object | None) -> None:
        target = self.target
        asked = Attributes(self.user, "escalate", RBAC, target.plural, namespace=target.namespace, name=target.name)
        if self.access.decide(asked).allowed:
            return
        self._confirm(resource, new, new.get("rules"))
        if not any(_aggregates(role) for role in (new, old or {})):
            return
        try:
            self._confirm(resource, new, EVERYTHING)
        except Forbidden:
            text = "must have cluster-admin privileges to use the aggregationRule"
            raise forbidden(RBAC, resource.plural, new["metadata"].get("name", ""), text) from None

    def _binding(self, resource: Resource, new: Object) -> None:
        reference = new.get("roleRef") or {}
        kind, name, namespace = reference.get("kind", ""), reference.get("name", ""), self.target.namespace
        if kind not in ("Role", "ClusterRole") or (kind == "Role" and not namespace) or not name:
            return  # the kind's own rules refuse it
        plural = f"{kind.lower()}s"
        asked = Attributes(self.user, "bind", reference.get("apiGroup", RBAC), plural, namespace=namespace, name=name)
        if self.access.decide(asked).allowed:
            return
        rules = self.rbac.rules_of(reference, namespace)
        if rules is None:
            raise problems.not_found(resource, name)  # upstream names the binding's resource here
        self._confirm(resource, new, rules)

    def _confirm(self, resource: Resource, new: Object, rules: object) -> None:
        user = self.user
        permissions = self.rbac.permissions(user, self.target.namespace)
        lacking = missing([rule for rule, _ in permissions.rules], rules)  # type: ignore[arg-type]
        if not lacking:
            return
        lines = "\n".join(described(lacking))
        who = f"user {quoted(user.name)} (groups={quoted_list(user.groups)})"
        text = f"{who} is attempting to grant RBAC permissions not currently held:\n{lines}"
        if permissions.errors:
            text += f"; resolution errors: [{', '.join(permissions.errors)}]"
        raise forbidden(RBAC, resource.plural, new["metadata"].get("name", ""), text)


def _aggregates(role: Object) -> bool:
    return bool((role.get("aggregationRule") or {}).get("clusterRoleSelectors"))


def _only_for_collector(new: Object, old: Object) -> bool:
    """Whether a change touches nothing but what lets the object be deleted in the end."""
    without = (*FOR_COLLECTOR, *KEPT_BY_SERVER)
    plain = ({**o, "metadata": {k: v for k, v in o["metadata"].items() if k not in without}} for o in (new, old))
    first, second = plain
    return first == second
