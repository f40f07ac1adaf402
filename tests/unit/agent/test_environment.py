"""Environment variables: expansion, sources, fields, resources, Services."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.agent.environment import MissingSource, environment, expand, field_value, resource_value, service_variables

from .builders import container, pod

DATA = {("ConfigMap", "m"): {"a": "1", "b": "2"}, ("Secret", "s"): {"p": "secret"}}


def lookup(kind, name):
    return DATA.get((kind, name))


def variables(*env, env_from=(), services=None):
    return environment(container(env=list(env), envFrom=list(env_from)), pod(), lookup, services or {}, {})


def reference(name, kind, source, key, optional=False):
    return {"name": name, "valueFrom": {f"{kind}KeyRef": {"name": source, "key": key, "optional": optional}}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$()", "$()"),
    ],
)
def test_references_are_expanded_and_two_dollars_are_one(text, expected):
    assert expand(text, {"A": "1"}) == expected


@given(st.text(alphabet="ab$() "))
def test_without_dollars_doubled_or_known_names_nothing_changes(text):
    if "$$" not in text:
        assert expand(text, {}) == text


@given(st.text(alphabet="$(A)x"))
def test_escaping_every_dollar_gives_the_text_back(text):
    assert expand(text.replace("$", "$$"), {"A": "never"}) == text


def test_a_later_variable_sees_earlier_ones_and_not_the_other_way_round():
    found = variables({"name": "X", "value": "$(Y)"}, {"name": "Y", "value": "1"}, {"name": "Z", "value": "$(Y)"})
    assert found == {"X": "$(Y)", "Y": "1", "Z": "1"}


def test_variables_of_the_container_go_before_env_from_and_that_before_services():
    found = variables({"name": "b", "value": "own"}, env_from=[{"configMapRef": {"name": "m"}}], services={"a": "service", "z": "service"})
    assert found == {"a": "1", "b": "own", "z": "service"}


def test_a_prefix_is_put_before_every_name():
    assert variables(env_from=[{"prefix": "P_", "secretRef": {"name": "s"}}]) == {"P_p": "secret"}


def test_keys_come_from_maps_and_secrets():
    assert variables(reference("X", "configMap", "m", "a"), reference("Y", "secret", "s", "p")) == {"X": "1", "Y": "secret"}


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        (reference("X", "configMap", "none", "a"), 'configmap "none" not found'),
        (reference("X", "secret", "s", "none"), "couldn't find key none in Secret n/s"),
    ],
)
def test_what_is_missing_is_named_unless_it_is_optional(variable, words):
    with pytest.raises(MissingSource) as caught:
        variables(variable)
    assert str(caught.value) == words
    next(iter(variable["valueFrom"].values()))["optional"] = True
    assert variables(variable) == {}


def test_a_missing_env_from_fails_unless_optional():
    with pytest.raises(MissingSource, match='secret "none" not found'):
        variables(env_from=[{"secretRef": {"name": "none"}}])
    assert variables(env_from=[{"secretRef": {"name": "none", "optional": True}}]) == {}


def test_fields_of_the_pod():
    found = pod(nodeName="node", serviceAccountName="sa", status={"podIPs": [{"ip": "1.1.1.1"}, {"ip": "::1"}], "hostIP": "2.2.2.2"})
    found["metadata"] |= {"labels": {"b": 'q"', "a": "1"}, "annotations": {"x/y": "z"}}
    expected = {
        "metadata.name": "p",
        "metadata.labels['a']": "1",
        "metadata.annotations['x/y']": "z",
        "metadata.labels['none']": "",
        "metadata.labels": 'a="1"\nb="q\\""',
        "spec.nodeName": "node",
        "spec.serviceAccountName": "sa",
        "status.podIPs": "1.1.1.1,::1",
        "status.hostIP": "2.2.2.2",
    }
    assert {path: field_value(found, path) for path in expected} == expected
    with pytest.raises(MissingSource, match=r"spec\.containers"):
        field_value(found, "spec.containers")


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", None, "1"),
        ("limits.cpu", "1m", "250"),
        ("requests.cpu", "1m", "0"),
        ("limits.memory", "1Mi", "65"),
        ("limits.memory", "1Gi", "1"),
        ("requests.memory", None, "1"),
        ("limits.ephemeral-storage", None, "5"),
    ],
)
def test_resources_are_rounded_up_in_units_of_their_divisor_and_a_missing_limit_is_the_nodes(resource, divisor, expected):
    limits = {"cpu": "250m", "memory": str((64 << 20) + 1)}
    found = pod(container(resources={"limits": limits, "requests": {"memory": "1"}}))
    wanted = {"resource": resource} | ({"divisor": divisor} if divisor else {})
    assert resource_value(found, "main", wanted, {"ephemeral-storage": "5"}) == expected


def test_services_are_told_in_both_forms_and_headless_ones_not_at_all():
    ports = [{"name": "web-ui", "port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
    service = {"metadata": {"name": "my-svc"}, "spec": {"clusterIP": "10.96.0.5", "ports": ports}}
    headless = {"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": ports}}
    found = service_variables([service, headless])
    assert found["MY_SVC_SERVICE_HOST"] == "10.96.0.5"
    assert found["MY_SVC_SERVICE_PORT_WEB_UI"] == "80"
    assert found["MY_SVC_PORT"] == found["MY_SVC_PORT_80_TCP"] == "tcp://10.96.0.5:80"
    assert found["MY_SVC_PORT_53_UDP_PROTO"] == "udp"
    assert not [name for name in found if name.startswith("H_")]
