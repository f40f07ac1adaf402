"""CustomResourceDefinitions at run time, by the unmodified kubectl and raw requests: the whole life of a custom kind."""

import asyncio
import json

import yaml

GROUP = "stable.example.com"
SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "x-kubernetes-validations": [{"rule": "self.metadata.name != 'forbidden'", "message": "not that name"}],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["cronSpec"],
            "x-kubernetes-validations": [
                {"rule": "self.replicas <= self.most", "messageExpression": "'at most %d'.format([self.most])", "fieldPath": ".replicas"},
                {"rule": "self.cronSpec == oldSelf.cronSpec", "message": "cronSpec is fixed", "reason": "FieldValueForbidden"},
            ],
            "properties": {
                "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)( (\d+|\*)){4}$"},
                "image": {"type": "string", "default": "busybox"},
                "replicas": {"type": "integer", "minimum": 0, "default": 1},
                "most": {"type": "integer", "default": 10},
                "mode": {"type": "string", "enum": ["fast", "slow"]},
                "share": {"x-kubernetes-int-or-string": True},
                "note": {"type": "string", "nullable": True},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "nested": {"type": "object", "default": {}, "properties": {"depth": {"type": "integer", "default": 3}}},
                "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
                    },
                },
            },
        },
        "status": {
            "type": "object",
            "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}, "phase": {"type": "string"}},
        },
    },
}
SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}
COLUMNS = [
    {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec", "description": "when it runs"},
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
    {"name": "First", "type": "integer", "jsonPath": '.spec.ports[?(@.name=="a")].port', "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


def definition(plural="crontabs", kind="CronTab", schema=None, **more):
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema or SCHEMA},
        "subresources": {"status": {}, "scale": SCALE},
        "additionalPrinterColumns": COLUMNS,
        "selectableFields": [{"jsonPath": ".spec.mode"}],
    }
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "shortNames": [f"{plural[:2]}x"], "categories": ["all"]}
    spec = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]}
    metadata = {"name": f"{plural}.{GROUP}"}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata, "spec": spec | more}


def crontab(name="one", **spec):
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "CronTab",
        "metadata": {"name": name},
        "spec": {"cronSpec": "* * * * 5", **spec},
    }


async def apply(api, *objects, check=True, command=("apply",)):
    """Send objects; a definition goes before the rest, as kubectl looks kinds up before it sends anything."""
    first = [o for o in objects if o["kind"] == "CustomResourceDefinition"]
    for some in filter(None, (first, [o for o in objects if o not in first])):
        done = await api.kubectl(*command, "-f", "-", stdin=yaml.safe_dump_all(some), check=check)
    return done


async def test_an_object_is_made_right_after_its_definition_and_is_pruned_defaulted_and_shown(api):
    await apply(
        api,
        definition(),
        crontab(mode="fast", open={"a": {"b": 1}}, share="5%", note=None, unknown=1),
        command=("create", "--validate=false"),
    )
    spec = (await api.get("crontab", "one"))["spec"]
    assert spec == {
        "cronSpec": "* * * * 5",
        "image": "busybox",
        "replicas": 1,
        "most": 10,
        "mode": "fast",
        "open": {"a": {"b": 1}},
        "share": "5%",
        "note": None,
        "nested": {"depth": 3},
    }
    table = (await api.kubectl("get", "crx")).stdout.split("\n")
    assert table[0].split() == ["NAME", "SPEC", "REPLICAS", "AGE"]
    assert table[1].split()[:7] == ["one", "*", "*", "*", "*", "5", "1"]
    assert "FIRST" in (await api.kubectl("get", "crontabs", "-o", "wide")).stdout
    assert "crontab.stable.example.com/one" in (await api.kubectl("get", "all", "-o", "name")).stdout
    assert "default" in (await api.kubectl("get", "crontabs", "-A")).stdout
    described = (await api.get("crd", f"crontabs.{GROUP}"))["status"]
    assert {c["type"]: c["status"] for c in described["conditions"]} == {"NamesAccepted": "True", "Established": "True"}
    assert described["storedVersions"] == ["v1"] and described["acceptedNames"]["listKind"] == "CronTabList"


async def test_wrong_objects_are_refused_with_upstreams_words(api):
    await apply(api, definition())
    many = crontab(replicas="two", mode="wrong", tags=["a", "a"], ports=[{"name": "a"}, {"name": "a"}])
    many["spec"]["cronSpec"] = "never"
    said = (await apply(api, many, check=False, command=("create",))).stderr
    for words in (
        'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"',
        "spec.cronSpec in body should match '^(\\d+|\\*)( (\\d+|\\*)){4}$'",
        'spec.mode: Unsupported value: "wrong": supported values: "fast", "slow"',
        'spec.tags[1]: Duplicate value: "a"',
        'spec.ports[1]: Duplicate value: {"name":"a"}',
    ):
        assert words in said, said
    missing = crontab()
    del missing["spec"]["cronSpec"]
    assert "spec.cronSpec: Required value" in (await apply(api, missing, check=False, command=("create",))).stderr
    strict = (await apply(api, crontab(unknown=1), check=False, command=("create", "--validate=strict"))).stderr
    assert 'strict decoding error: unknown field "spec.unknown"' in strict


async def test_rules_judge_values_and_transitions(api):
    await apply(api, definition(), crontab(replicas=3))
    said = (await apply(api, crontab(replicas=11), check=False)).stderr
    assert "spec.replicas: Invalid value: at most 10" in said, said
    other = crontab(replicas=3)
    other["spec"]["cronSpec"] = "1 * * * *"
    assert "spec: Forbidden: cronSpec is fixed" in (await apply(api, other, check=False)).stderr
    assert "not that name" in (await apply(api, crontab("forbidden"), check=False, command=("create",))).stderr


async def test_status_and_scale_are_subresources(api):
    await apply(api, definition(), crontab() | {"status": {"replicas": 9}})
    assert "status" not in await api.get("crontab", "one")
    await api.kubectl("scale", "crontab", "one", "--replicas=4")
    await api.kubectl(
        "patch",
        "crontab",
        "one",
        "--subresource=status",
        "--type=merge",
        "-p",
        '{"status":{"replicas":4,"selector":"a=b"},"spec":{"most":1}}',
    )
    found = await api.get("crontab", "one")
    assert (found["spec"]["replicas"], found["spec"]["most"]) == (4, 10)
    assert (found["metadata"]["generation"], found["status"]) == (2, {"replicas": 4, "selector": "a=b"})
    scale = json.loads((await api.kubectl("get", "--raw", f"/apis/{GROUP}/v1/namespaces/default/crontabs/one/scale")).stdout)
    assert (scale["kind"], scale["spec"], scale["status"]) == ("Scale", {"replicas": 4}, {"replicas": 4, "selector": "a=b"})


async def test_apply_owns_fields_of_keyed_lists_and_of_what_has_no_schema(api):
    await apply(api, definition())
    first = crontab(ports=[{"name": "a", "port": 1}], open={"x": {"w": 1}})
    await apply(api, first, command=("apply", "--server-side", "--field-manager=first"))
    second = crontab(ports=[{"name": "b", "port": 2}], open={"x": {"z": 2}})
    await apply(api, second, command=("apply", "--server-side", "--field-manager=second"))
    spec = (await api.get("crontab", "one"))["spec"]
    assert [p["name"] for p in spec["ports"]] == ["a", "b"] and spec["open"] == {"x": {"w": 1, "z": 2}}
    clash = crontab(ports=[{"name": "a", "port": 9}])
    said = (await apply(api, clash, check=False, command=("apply", "--server-side", "--field-manager=third"))).stderr
    assert 'conflict with "first": .spec.ports[name="a"].port' in said, said
    strategic = await api.kubectl("patch", "crontab", "one", "--type=strategic", "-p", "{}", check=False)
    assert strategic.returncode != 0


async def test_a_kind_can_be_explained_selected_and_found_by_discovery(api):
    await apply(api, definition(), crontab(mode="fast"), crontab("two", mode="slow"))
    explained = (await api.kubectl("explain", "crontab.spec.ports")).stdout
    assert "CronTab" in explained and "port\t<integer>" in explained, explained
    chosen = await api.kubectl("get", "crontabs", "--field-selector", "spec.mode=slow", "-o", "name")
    assert chosen.stdout.split() == [f"crontab.{GROUP}/two"]
    assert "field label not supported" in (await api.kubectl("get", "crontabs", "--field-selector", "spec.image=x", check=False)).stderr
    assert "crontabs" in (await api.kubectl("api-resources", "--api-group", GROUP)).stdout
    spec = json.loads((await api.kubectl("get", "--raw", "/openapi/v2")).stdout)
    assert spec["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"]["properties"]["image"] == {"type": "string"}


async def test_a_definition_goes_after_its_objects(api):
    held = crontab()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await apply(api, definition(), held, crontab("two"))
    await api.kubectl("delete", "crd", f"crontabs.{GROUP}", "--wait=false")
    await api.kubectl("wait", "--for=delete", "crontab/two", "--timeout=20s")
    assert (
        "create not allowed while custom resource definition is terminating"
        in (await apply(api, crontab("three"), check=False, command=("create",))).stderr
    )
    conditions = (await api.get("crd", f"crontabs.{GROUP}"))["status"]["conditions"]
    assert [c["status"] for c in conditions if c["type"] == "Terminating"] == ["True"]
    await api.kubectl("patch", "crontab", "one", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    await api.kubectl("wait", "--for=delete", f"crd/crontabs.{GROUP}", "--timeout=20s")
    assert (await api.kubectl("get", "--raw", f"/apis/{GROUP}/v1", check=False)).returncode != 0


async def test_two_definitions_do_not_share_a_name_until_one_lets_it_go(api):
    await apply(api, definition())
    await apply(api, definition("otherthings", "CronTab"))
    conditions = (await api.get("crd", f"otherthings.{GROUP}"))["status"]["conditions"]
    refused = {c["type"]: c["reason"] for c in conditions if c["status"] == "False"}
    assert refused == {"NamesAccepted": "ListKindConflict", "Established": "NotAccepted"}
    await api.kubectl("delete", "crd", f"crontabs.{GROUP}")
    await api.kubectl("wait", "--for=condition=Established", f"crd/otherthings.{GROUP}", "--timeout=20s")


async def test_versions_are_converted_by_name_and_stored_in_one(api):
    given = definition()
    (first,) = given["spec"]["versions"]
    given["spec"]["versions"] = [first, {**first, "name": "v2beta1", "storage": False}]
    await apply(api, given, crontab())
    beta = json.loads((await api.kubectl("get", f"crontabs.v2beta1.{GROUP}", "one", "-o", "json")).stdout)
    assert beta["apiVersion"] == f"{GROUP}/v2beta1" and beta["spec"]["image"] == "busybox"
    watching = asyncio.create_task(
        api.kubectl(
            "get", f"crontabs.v2beta1.{GROUP}", "--watch-only", "-o", "jsonpath={.apiVersion}{'\\n'}", "--request-timeout=3s", check=False
        )
    )
    while not watching.done():
        await api.kubectl("annotate", "crontab", "one", "--overwrite", f"at={asyncio.get_running_loop().time()}")
    assert set(watching.result().stdout.split()) == {f"{GROUP}/v2beta1"}
    given["spec"]["versions"][0]["storage"], given["spec"]["versions"][1]["storage"] = False, True
    await apply(api, given)
    assert (await api.get("crd", f"crontabs.{GROUP}"))["status"]["storedVersions"] == ["v1", "v2beta1"]
    assert (await api.get("crontab.v1." + GROUP, "one"))["apiVersion"] == f"{GROUP}/v1"


async def test_definitions_that_are_wrong_are_refused_with_upstreams_words(api):
    wrong = definition(
        schema={
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "x-kubernetes-validations": [{"rule": "self.missing > 1"}, {"rule": "1 +"}, {"rule": "1"}],
                    "properties": {"count": {"type": "integer"}},
                },
            },
        }
    )
    said = (await apply(api, wrong, check=False)).stderr
    assert "undefined field 'missing'" in said and "Syntax error" in said and "must evaluate to a bool" in said, said
    loose = definition(schema={"properties": {"spec": {"properties": {"a": {"type": "array"}}}}})
    said = (await apply(api, loose, check=False)).stderr
    path = "spec.validation.openAPIV3Schema"
    assert f"{path}.type: Required value: must not be empty at the root" in said
    assert f"{path}.properties[spec].properties[a].items: Required value: must be specified" in said, said
    named = definition()
    named["metadata"]["name"] = "other.example.com"
    assert 'must be spec.names.plural+"."+spec.group' in (await apply(api, named, check=False)).stderr


async def test_what_is_defined_and_stored_survives_a_restart(api):
    await apply(api, definition(), crontab())
    await api.kill()
    await api.start()
    assert (await api.get("crontab", "one"))["spec"]["nested"] == {"depth": 3}
