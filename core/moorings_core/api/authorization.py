"""Who may do what. For now: every known caller everything, nobody unknown anything but health and version.

`Authorizer` is the seam that RBAC and the node authorizer fill.
"""

from __future__ import annotations

from typing import Protocol

from moorings_core.ports.errors import Forbidden

from .context import ANONYMOUS, User
from .paths import Target

OPEN_PATHS = ("/healthz", "/livez", "/readyz", "/version")


class Authorizer(Protocol):
    """Decides on requests."""

    def check(self, user: User, verb: str, target: Target | None, path: str) -> None:
        """Return where the user may; raise Forbidden otherwise."""


class AuthenticatedOnly:
    """Everybody known may do everything."""

    def check(self, user: User, verb: str, target: Target | None, path: str) -> None:
        """Refuse strangers."""
        if user is not ANONYMOUS or any(path == p or path.startswith(f"{p}/") for p in OPEN_PATHS):
            return
        if target is None:
            raise Forbidden(f'forbidden: User "{user.name}" cannot {verb} path "{path}"')
        group = f' in API group "{target.group}"'
        where = f' in the namespace "{target.namespace}"' if target.namespace else " at the cluster scope"
        what = f'{target.plural} is forbidden: User "{user.name}" cannot {verb} resource "{target.plural}"'
        raise Forbidden(f"{what}{group}{where}", details={"kind": target.plural, "group": target.group})
