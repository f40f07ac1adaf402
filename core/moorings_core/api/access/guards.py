"""Which guard looks at the writes of a request: most requests have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moorings_core.api.cache import Cache
from moorings_core.api.context import MASTERS, Guard, User
from moorings_core.api.paths import Target
from moorings_core.ports.errors import Forbidden
from moorings_core.ports.objects import Object, Resource

from .attributes import RBAC, quoted
from .authorizer import Access
from .escalation import Escalation
from .node import node_of
from .node_restriction import NodeRestriction
from .rbac import Rbac
from .signing import BUNDLES, REQUESTS, Signing
from .signing import GROUP as CERTIFICATES


@dataclass(frozen=True, slots=True)
class Guards:
    """Chooses guards."""

    access: Access
    rbac: Rbac
    cache: Cache

    def of(self, user: User, target: Target) -> Guard | None:
        """Return the guard of a write, or None. Raises Forbidden for a node that does not say which."""
        node = node_of(user)
        if node == "":
            raise Forbidden(f"could not determine node from user {quoted(user.name)}")
        guards: list[Guard] = [] if node is None else [NodeRestriction(self.cache, node, self.access)]
        if target.group == RBAC and MASTERS not in user.groups:
            guards.append(Escalation(self.access, self.rbac, user, target))
        if target.group == CERTIFICATES and target.plural in (REQUESTS, BUNDLES):
            guards.append(Signing(self.access, user))
        return _all(guards)


def _all(guards: Sequence[Guard]) -> Guard | None:
    """Return one guard for several."""
    if len(guards) < 2:
        return guards[0] if guards else None

    def ask_all(operation: str, resource: Resource, subresource: str, new: Object | None, old: Object | None) -> None:
        for guard in guards:
            guard(operation, resource, subresource, new, old)

    return ask_all
