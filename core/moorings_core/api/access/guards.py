"""Which guard looks at the writes of a request: most requests have none."""

from __future__ import annotations

from dataclasses import dataclass

from moorings_core.api.cache import Cache
from moorings_core.api.context import MASTERS, Guard, User
from moorings_core.api.paths import Target
from moorings_core.ports.errors import Forbidden

from .attributes import RBAC, quoted
from .authorizer import Access
from .escalation import Escalation
from .node import node_of
from .node_restriction import NodeRestriction
from .rbac import Rbac


@dataclass(frozen=True, slots=True)
class Guards:
    """Chooses guards."""

    access: Access
    rbac: Rbac
    cache: Cache

    def of(self, user: User, target: Target) -> Guard | None:
        """Return the guard of a write, or None. Raises Forbidden for a node that does not say which."""
        node = node_of(user)
        if node is not None:
            if not node:
                raise Forbidden(f"could not determine node from user {quoted(user.name)}")
            return NodeRestriction(self.cache, node)
        if target.group == RBAC and MASTERS not in user.groups:
            return Escalation(self.access, self.rbac, user, target)
        return None
