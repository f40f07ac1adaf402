"""Fields of features that are off, what a claim is filled from, and what an account keeps of its secrets."""

import copy

import pytest

from moorings_core.registry import strategy
from moorings_core.registry.claims import match_sources
from moorings_core.registry.gates import drop

from .objects import resource

LEASES, SLICES = resource("coordination.k8s.io", "leases"), resource("resource.k8s.io", "resourceslices")
VOLUME = {"kind": "PersistentVolumeClaim", "name": "a"}
SNAPSHOT = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "a"}
OTHER = {"apiGroup": "example.org", "kind": "Thing", "name": "a"}


@pytest.mark.parametrize(
    ("kind", "old", "new", "kept"),
    [
        pytest.param(LEASES, None, {"spec": {"strategy": "x"}}, {"spec": {}}, id="on creation"),
        pytest.param(LEASES, {"spec": {}}, {"spec": {"strategy": "x"}}, {"spec": {}}, id="not in use"),
        pytest.param(LEASES, {"spec": {"strategy": "y"}}, {"spec": {"strategy": "x"}}, {"spec": {"strategy": "x"}}, id="in use"),
        pytest.param(LEASES, {"spec": {"strategy": "y"}}, {"spec": {"preferredHolder": "x"}}, {"spec": {}}, id="each feature by itself"),
        pytest.param(
            SLICES,
            None,
            {"spec": {"devices": [{"name": "a", "attributes": {"k": {"ints": [1], "int": 1}}}]}},
            {"spec": {"devices": [{"name": "a", "attributes": {"k": {"int": 1}}}]}},
            id="in lists and maps",
        ),
        pytest.param(
            SLICES,
            {"spec": {"devices": [{"attributes": {"k": {"bools": [True]}}}]}},
            {"spec": {"devices": [{"attributes": {"k": {"ints": [1]}}}]}},
            {"spec": {"devices": [{"attributes": {"k": {"ints": [1]}}}]}},
            id="one field in use keeps all of its feature",
        ),
        pytest.param(resource("", "pods"), None, {"spec": {"a": 1}}, {"spec": {"a": 1}}, id="a kind without any"),
    ],
)
def test_fields_of_features_that_are_off_are_dropped_unless_in_use(kind, old, new, kept):
    drop(kind, new, old)
    assert new == kept


@pytest.mark.parametrize(
    ("old", "new", "made"),
    [
        pytest.param(None, {"dataSource": VOLUME}, {"dataSource": VOLUME, "dataSourceRef": VOLUME}, id="a claim"),
        pytest.param(None, {"dataSourceRef": OTHER}, {"dataSource": OTHER, "dataSourceRef": OTHER}, id="anything, by the new field"),
        pytest.param(None, {"dataSource": SNAPSHOT}, {"dataSource": SNAPSHOT, "dataSourceRef": SNAPSHOT}, id="a snapshot"),
        pytest.param(None, {"dataSource": OTHER}, {}, id="nothing else by the old field"),
        pytest.param(None, {"dataSourceRef": {**VOLUME, "namespace": "n"}}, {}, id="nothing of another namespace"),
        pytest.param(None, {"dataSource": VOLUME, "dataSourceRef": OTHER}, {"dataSource": VOLUME, "dataSourceRef": OTHER}, id="both"),
        pytest.param({"dataSource": OTHER}, {"dataSource": OTHER}, {"dataSource": OTHER, "dataSourceRef": OTHER}, id="what was there"),
        pytest.param({}, {}, {}, id="nothing"),
    ],
)
def test_the_two_sources_of_a_claim_say_the_same(old, new, made):
    claim = {"spec": copy.deepcopy(new)}
    match_sources(claim, None if old is None else {"spec": old})
    assert claim["spec"] == made


def test_of_an_account_s_secrets_only_the_names_stay():
    account = {"metadata": {"name": "a"}, "secrets": [{"name": "s", "kind": "Secret", "namespace": "n"}]}
    strategy.prepare_create(resource("", "serviceaccounts"), account)
    assert account["secrets"] == [{"name": "s"}]
