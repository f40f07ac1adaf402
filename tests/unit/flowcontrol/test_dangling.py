"""What a FlowSchema is told of the priority level that it names."""

import pytest

from moorings_core.api.flowcontrol.dangling import condition_of

TEXT = 'This FlowSchema references the PriorityLevelConfiguration object named "low" '
FOUND = {"type": "Dangling", "status": "False", "reason": "Found", "message": f"{TEXT}and it exists"}
LOST = {"type": "Dangling", "status": "True", "reason": "NotFound", "message": f"{TEXT}but there is no such object"}


@pytest.mark.parametrize(
    ("levels", "said", "wanted"),
    [
        pytest.param({"low"}, [], FOUND, id="a new schema"),
        pytest.param(set(), [], LOST, id="a new schema of no level"),
        pytest.param({"low"}, [{**FOUND, "lastTransitionTime": "2026-01-01T00:00:00Z"}], None, id="it is said"),
        pytest.param(set(), [{"type": "Other"}, FOUND], LOST, id="the level is gone"),
        pytest.param({"low"}, [LOST], FOUND, id="the level is there"),
    ],
)
def test_the_condition_that_a_schema_lacks(levels, said, wanted):
    schema = {"metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": "low"}}, "status": {"conditions": said}}
    assert condition_of(schema, levels) == wanted
