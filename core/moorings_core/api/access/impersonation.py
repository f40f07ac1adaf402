"""Acting as somebody else: headers Impersonate-User, -Group, -Uid and -Extra-*, each of which must be allowed.

There are several ways to be allowed. By the narrow ones ("impersonate:MODE") a user may act as somebody, and only for requests for
which it may "impersonate-on:MODE:VERB"; by the old one ("impersonate") for everything. Source: upstream's impersonation filters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote

from moorings_core.api.context import ANONYMOUS, MASTERS, User
from moorings_core.api.http.message import Request
from moorings_core.ports.errors import BadRequest, Forbidden

from .accounts import EXTRA as NODE_EXTRA
from .accounts import account_user
from .attributes import Attributes, quoted, refusal
from .authorizer import Access
from .node import NODES
from .node import PREFIX as NODE
from .rbac import ACCOUNT

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
PREFIX, EXTRA = "impersonate-", "impersonate-extra-"
AUTHENTICATION = "authentication.k8s.io"
OLD = ""
"""The mode without a name, of the verb impersonate"""
MOST_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Wish:
    """Whom a request asks to act as, as it says it."""

    name: str
    groups: tuple[str, ...]
    uid: str
    extra: dict[str, tuple[str, ...]]

    @property
    def only_name(self) -> bool:
        """Whether nothing but the name is given."""
        return not (self.groups or self.uid or self.extra)


class Impersonation:
    """Decides who may act as whom."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._last: dict[str, str] = {}
        """The mode that a user was last allowed by: it is tried first, and its refusal is the one that is told"""

    def acting(self, asked: Attributes, request: Request) -> User | None:
        """Return the user that a request acts as, None where it acts as itself. Raises BadRequest, Forbidden."""
        if PREFIX not in " ".join(request.headers):  # nearly every request: one look at all names together
            return None
        wish = _wish(request)
        if wish is None:
            return None
        first: Forbidden | None = None
        for mode in self._modes(asked.user, wish):
            try:
                self._check(mode, asked, wish)
            except Forbidden as error:
                first = first or error
                continue
            self._remember(asked.user.name, mode)
            return User(wish.name, _groups(wish, narrow=mode != OLD), wish.uid, wish.extra)
        assert first is not None, "the old mode is always tried"
        raise first

    def _modes(self, user: User, wish: Wish) -> list[str]:
        modes, node, account = [], wish.name.removeprefix(NODE), _account(wish.name)
        is_node = wish.name.startswith(NODE) and bool(node)
        if is_node and wish.only_name:
            modes = ["associated-node"] if user.extra.get(f"{NODE_EXTRA}node-name") == (node,) else []
            modes.append("arbitrary-node")
        elif account and wish.only_name:
            modes.append("serviceaccount")
        elif not is_node and not account:
            modes.append("user-info")
        modes.append(OLD)
        last = self._last.get(user.name)
        return [last, *(m for m in modes if m != last)] if last in modes else modes

    def _remember(self, user: str, mode: str) -> None:
        if len(self._last) >= MOST_KEPT:
            self._last.clear()
        self._last[user] = mode

    def _check(self, mode: str, asked: Attributes, wish: Wish) -> None:
        if mode != OLD:
            self._access.check(replace(asked, verb=f"impersonate-on:{mode}:{asked.verb}"))
            if MASTERS in wish.groups:
                about = Attributes(asked.user, f"impersonate:{mode}", AUTHENTICATION, "groups", name=MASTERS)
                raise refusal(about, f"impersonating the {MASTERS} group is not allowed")
        for question in _questions(mode, asked.user, wish):
            self._access.check(question)


def _wish(request: Request) -> Wish | None:
    name, uid = request.headers.get("impersonate-user", ""), request.headers.get("impersonate-uid", "")
    groups = tuple(request.values("impersonate-group"))
    extra = {unquote(h[len(EXTRA) :]): tuple(request.values(h)) for h in request.headers if h.startswith(EXTRA)}
    if name:
        return Wish(name, groups, uid, extra)
    if groups or uid or extra:
        raise BadRequest(f"requested {_as_go(groups, uid, extra)} without impersonating a user name")
    return None


def _questions(mode: str, user: User, wish: Wish) -> Iterator[Attributes]:
    """Yield all that must be allowed: the name, each group, each value of more, the uid."""
    verb, group = (f"impersonate:{mode}", AUTHENTICATION) if mode else ("impersonate", "")
    account = _account(wish.name)
    if mode.endswith("-node"):
        yield Attributes(user, verb, group, "nodes", name="*" if mode == "associated-node" else wish.name.removeprefix(NODE))
    elif account:
        yield Attributes(user, verb, group, "serviceaccounts", namespace=account[0], name=account[1])
    else:
        yield Attributes(user, verb, group, "users", name=wish.name)
    if wish.uid:
        yield Attributes(user, verb, AUTHENTICATION, "uids", name=wish.uid)
    for name in wish.groups:
        yield Attributes(user, verb, group, "groups", name=name)
    for key, values in wish.extra.items():
        for value in values:
            yield Attributes(user, verb, AUTHENTICATION, "userextras", key, name=value)


def _groups(wish: Wish, *, narrow: bool) -> tuple[str, ...]:
    account, groups = _account(wish.name), wish.groups
    if account and not groups:
        groups = account_user(*account)[1]
    elif narrow and wish.name.startswith(NODE):
        groups = (NODES,)
    if wish.name == ANONYMOUS.name:
        return groups if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
    return groups if {AUTHENTICATED, UNAUTHENTICATED} & set(groups) else (*groups, AUTHENTICATED)


def _account(name: str) -> tuple[str, str] | None:
    """Return namespace and name of a service account's user name, None for others."""
    namespace, _, account = name.removeprefix(ACCOUNT).partition(":")
    return (namespace, account) if name.startswith(ACCOUNT) and namespace and account and ":" not in account else None


def _as_go(groups: tuple[str, ...], uid: str, extra: dict[str, tuple[str, ...]]) -> str:
    """Return a user without a name as Go shows the structure, which is upstream's message."""
    listed = f"{{{', '.join(map(quoted, groups))}}}" if groups else "(nil)"
    shown = ", ".join(f"{quoted(key)}:[]string{{{', '.join(map(quoted, extra[key]))}}}" for key in sorted(extra))
    more = f"{{{shown}}}" if extra else "(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{quoted(uid)}, Groups:[]string{listed}, Extra:map[string][]string{more}}}'
