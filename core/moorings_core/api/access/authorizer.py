"""All authorizers of a server, asked in order: the first that allows wins. Source: upstream's union authorizer."""

from __future__ import annotations

from collections.abc import Mapping

from moorings_core.api.context import MASTERS

from .attributes import Attributes, Authorizer, Decision, refusal

MASTER = Decision(True)


class Access:
    """Decides on requests; system:masters may do everything. authorizers: by the name that stands before what they say."""

    def __init__(self, authorizers: Mapping[str, Authorizer]) -> None:
        self._authorizers = dict(authorizers)

    def decide(self, asked: Attributes) -> Decision:
        """Return whether it is allowed, and why."""
        if MASTERS in asked.user.groups:
            return MASTER
        reasons, errors = [], []
        for name, authorizer in self._authorizers.items():
            decision = authorizer.decide(asked)
            if decision.allowed:
                return decision
            reasons += [f"{name}: {decision.reason}"] if decision.reason else []
            errors += [decision.error] if decision.error else []
        return Decision(False, "\n".join(reasons), "; ".join(errors))

    def check(self, asked: Attributes) -> Decision:
        """Return the decision that allows it. Raises Forbidden."""
        decision = self.decide(asked)
        if not decision.allowed:
            raise refusal(asked, decision.reason)
        return decision
