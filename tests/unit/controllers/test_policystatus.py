"""What a policy's expressions get wrong about the kinds that they are for is in its status."""

from __future__ import annotations

import asyncio

from moorings_core.client.resources import VALIDATING_ADMISSION_POLICIES
from moorings_core.controllers.policystatus import PolicyStatus, check
from moorings_core.ports.objects import Key
from moorings_core.registry.kinds import built_in

from .api import running, until

RULE = {"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}


def policy(*expressions, rule=RULE, variables=()):
    validations = [{"expression": e} for e in expressions]
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": validations, "variables": list(variables)}
    return {"metadata": {"name": "p"}, "spec": spec}


def test_wrong_fields_and_types_are_told_with_their_kind():
    warnings = check(policy("object.spec.replicas > 1", "object.spec.replicas > '1'", "object.spec.nothing == 1"), built_in())
    assert [w["fieldRef"] for w in warnings] == ["spec.validations[1].expression", "spec.validations[2].expression"]
    assert warnings[0]["warning"].startswith("apps/v1, Kind=Deployment: ")
    assert "found no matching overload for '_>_' applied to '(int, string)'" in warnings[0]["warning"]
    assert "undefined field 'nothing'" in warnings[1]["warning"]


def test_variables_have_types_and_wildcards_are_not_checked():
    count = {"name": "count", "expression": "object.spec.replicas"}
    assert len(check(policy("variables.count == 'x'", variables=[count]), built_in())) == 1
    assert check(policy("object.spec.nothing == 1", rule={**RULE, "resources": ["*"]}), built_in()) == []


async def test_the_status_follows_the_policy(tmp_path):
    async with running(tmp_path) as (core, client):
        working = asyncio.create_task(PolicyStatus(client, built_in()).run())
        await client.create(VALIDATING_ADMISSION_POLICIES, policy("object.spec.replicas == 'x'"))

        def status():
            stored = core.cache.collection("admissionregistration.k8s.io", "validatingadmissionpolicies").get(Key("", "p"))
            return stored.object.get("status") or {}

        await until(lambda: status().get("observedGeneration") == 1)
        assert len(status()["typeChecking"]["expressionWarnings"]) == 1
        await client.patch(VALIDATING_ADMISSION_POLICIES, "p", "", {"spec": {"validations": [{"expression": "object.spec.replicas == 1"}]}})
        await until(lambda: status().get("observedGeneration") == 2)
        assert status()["typeChecking"] == {}
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
