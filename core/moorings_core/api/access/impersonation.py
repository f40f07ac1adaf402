"""Acting as somebody else: headers Impersonate-User, -Group, -Uid and -Extra-*, each of which must be allowed.

Source: upstream's impersonation filter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from moorings_core.api.context import ANONYMOUS, User
from moorings_core.api.http.message import Request
from moorings_core.ports.errors import BadRequest

from .accounts import account_user
from .attributes import Attributes
from .authorizer import Access
from .rbac import ACCOUNT

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
PREFIX, EXTRA = "impersonate-", "impersonate-extra-"
AUTHENTICATION = "authentication.k8s.io"


def impersonated(user: User, request: Request, access: Access) -> User | None:
    """Return the user that a request acts as, None where it acts as itself. Raises BadRequest, Forbidden."""
    headers = [name for name in request.headers if name.startswith(PREFIX)]
    if not headers:
        return None
    name, groups, uid = (
        request.headers.get("impersonate-user", ""),
        request.values("impersonate-group"),
        request.headers.get("impersonate-uid", ""),
    )
    extra = {unquote(h[len(EXTRA) :]): tuple(request.values(h)) for h in headers if h.startswith(EXTRA)}
    if not name:
        if groups or uid or extra:
            raise BadRequest(f"requested {sorted(headers)} without impersonating a user")
        return None
    for asked in _questions(user, name, groups, uid, extra):
        access.check(asked)
    return User(name, _groups(name, tuple(groups)), uid, extra)


def _questions(user: User, name: str, groups: Sequence[str], uid: str, extra: dict[str, tuple[str, ...]]) -> Iterator[Attributes]:
    account = _account(name)
    if account:
        yield Attributes(user, "impersonate", plural="serviceaccounts", namespace=account[0], name=account[1])
    else:
        yield Attributes(user, "impersonate", plural="users", name=name)
    for group in groups:
        yield Attributes(user, "impersonate", plural="groups", name=group)
    for key, values in extra.items():
        for value in values:
            yield Attributes(user, "impersonate", AUTHENTICATION, "userextras", key, name=value)
    if uid:
        yield Attributes(user, "impersonate", AUTHENTICATION, "uids", name=uid)


def _groups(name: str, given: tuple[str, ...]) -> tuple[str, ...]:
    account = _account(name)
    groups = account_user(*account)[1] if account and not given else given
    if name == ANONYMOUS.name:
        return groups if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
    return groups if {AUTHENTICATED, UNAUTHENTICATED} & set(groups) else (*groups, AUTHENTICATED)


def _account(name: str) -> tuple[str, str] | None:
    """Return namespace and name of a service account's user name, None for others."""
    namespace, _, account = name.removeprefix(ACCOUNT).partition(":")
    return (namespace, account) if name.startswith(ACCOUNT) and namespace and account and ":" not in account else None
