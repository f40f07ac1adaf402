"""Which containers run again when they have ended. Source: upstream's pkg/api/v1/pod ContainerShouldRestart."""

from __future__ import annotations

from moorings_core.ports.objects import Object


def should_restart(container: Object, policy: str, code: int) -> bool:
    """Whether a container that ended with this exit code runs again; policy is the pod's."""
    own = container.get("restartPolicy")
    if own and any(_matches(rule, code) for rule in container.get("restartPolicyRules") or ()):
        return True
    match own or policy:
        case "OnFailure":
            return code != 0
        case "Never":
            return False
    return True


def _matches(rule: Object, code: int) -> bool:
    codes = rule.get("exitCodes") or {}
    listed = code in (codes.get("values") or ())
    return (codes.get("operator"), listed) in (("In", True), ("NotIn", False))
