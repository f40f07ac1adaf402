"""The authorizer as expressions of policies and webhooks ask it. Source: apiserver pkg/cel/library/authz.go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from moorings_core.api.admission.attributes import Attributes as Write
from moorings_core.api.context import User

from .attributes import Attributes
from .authorizer import Access

if TYPE_CHECKING:
    from moorings_core.cel.library.authorization import Ask, Decision
    from moorings_core.cel.library.authorization import Attributes as Question

ACCOUNT = "system:serviceaccount:"


def asker(access: Access) -> Callable[[Write], Ask]:
    """Return what gives a write its authorizer: questions are about who wants the write, or about an account."""

    def of(write: Write) -> Ask:
        return lambda question: _answer(access, write, question)

    return of


def _answer(access: Access, write: Write, question: Question) -> Decision:
    from moorings_core.cel.library.authorization import Decision  # the evaluator is large

    user = _account(question.user) if question.user else write.context.user
    if question.path:
        asked = Attributes(user, question.verb, path=question.path)
    else:
        where = (question.group, question.resource, question.subresource, question.namespace, question.name)
        asked = Attributes(user, question.verb, *where)
    decision = access.decide(asked)
    return Decision(decision.allowed, decision.reason, decision.error)


def _account(name: str) -> User:
    namespace = name.removeprefix(ACCOUNT).partition(":")[0]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(name, groups if name.startswith(ACCOUNT) else ("system:authenticated",))
