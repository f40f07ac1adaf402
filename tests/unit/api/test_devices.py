"""Devices that others use are for namespaces that say so."""

import pytest

from moorings_core.api.devices import LABEL, admin_access
from moorings_core.ports.objects import Resource

CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim", True)
TEMPLATES = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate", True)
PODS = Resource("", "v1", "pods", "Pod", True)
ASKING = {"devices": {"requests": [{"name": "a"}, {"name": "b", "exactly": {"adminAccess": True}}]}}
MODEST = {"devices": {"requests": [{"name": "b", "exactly": {"adminAccess": False}}]}}


class Namespaces:
    """A cache that has namespaces alone."""

    def __init__(self, labels):
        self.object = {"metadata": {"labels": labels}}

    def collection(self, group, plural):
        assert (group, plural) == ("", "namespaces")
        return self

    def get(self, key):
        return self if key.name == "n" else None


@pytest.mark.parametrize(
    ("kind", "spec", "namespace", "labels", "refused"),
    [
        pytest.param(CLAIMS, ASKING, "n", {}, True, id="a claim"),
        pytest.param(TEMPLATES, {"spec": ASKING}, "n", {LABEL: "false"}, True, id="a template"),
        pytest.param(CLAIMS, ASKING, "n", {LABEL: "true"}, False, id="a namespace that says so"),
        pytest.param(CLAIMS, ASKING, "gone", {LABEL: "true"}, True, id="a namespace that is gone"),
        pytest.param(CLAIMS, MODEST, "n", {}, False, id="a claim that does not ask"),
        pytest.param(PODS, ASKING, "n", {}, False, id="another kind"),
    ],
)
def test_admin_access_is_for_namespaces_that_say_so(kind, spec, namespace, labels, refused):
    found = admin_access(Namespaces(labels), kind, {"metadata": {"namespace": namespace}, "spec": spec})
    assert [error.field for error in found] == (["spec.devices.requests[1].adminAccess"] if refused else [])
