"""Custom kinds in a whole cluster: namespaces are emptied of them, garbage is collected across them."""

import json
import os

GROUP = f"kinds{os.getpid()}.example.com"
KEEP = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition():
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": KEEP}}
    spec = {"group": GROUP, "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"}, "versions": [version]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"boats.{GROUP}"},
        "spec": spec,
    }


def boat(name, namespace, **metadata):
    return {"apiVersion": f"{GROUP}/v1", "kind": "Boat", "metadata": {"name": name, "namespace": namespace, **metadata}}


def owned(kind, name, namespace, owner):
    reference = {"apiVersion": f"{GROUP}/v1", "kind": "Boat", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    version = "v1" if kind == "ConfigMap" else f"{GROUP}/v1"
    metadata = {"name": name, "namespace": namespace, "ownerReferences": [reference]}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def test_what_a_custom_object_owns_goes_with_it_and_its_namespace_takes_it_along(lab):
    namespace = f"boats{os.getpid()}"
    lab.kubectl("create", "namespace", namespace)
    lab.apply(json.dumps(definition()))
    try:
        for obj in (boat("one", namespace), boat("kept", namespace)):
            lab.apply(json.dumps(obj), namespace)
        owner = lab.get(f"boats.{GROUP}", "one", "-n", namespace)
        for kind, name in (("ConfigMap", "cargo"), ("Boat", "dinghy")):
            lab.apply(json.dumps(owned(kind, name, namespace, owner)), namespace)
        lab.kubectl("delete", f"boats.{GROUP}", "one", "-n", namespace)

        def left():
            found = lab.get(f"boats.{GROUP},configmaps", "-n", namespace)["items"]
            return {o["metadata"]["name"] for o in found} & {"one", "cargo", "dinghy", "kept"}

        lab.wait_for("what the boat owned goes", lambda: left() == {"kept"})
        lab.kubectl("delete", "namespace", namespace, "--timeout=60s")
        assert GROUP not in lab.kubectl("get", f"boats.{GROUP}", "-A", "-o", "name").stdout
    finally:
        lab.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout=60s")
        lab.kubectl("delete", "crd", f"boats.{GROUP}", "--timeout=30s")
