"""An operator on controller-runtime (go/operator) makes websites of custom objects; their pods are real."""

import subprocess

import pytest

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: websites.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: websites, singular: website, kind: Website, listKind: WebsiteList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.ready}}
    additionalPrinterColumns: [{name: Ready, type: integer, jsonPath: .status.ready}]
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [page, image]
            properties:
              page: {type: string, minLength: 1}
              image: {type: string}
              replicas: {type: integer, format: int32, default: 1, maximum: 5}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""
SITE = """
apiVersion: example.org/v1
kind: Website
metadata: {name: home}
spec: {page: hello, image: "moorings.dev/busybox:1"}
"""


@pytest.fixture
def operator(lab, namespace, program, tmp_path):
    lab.apply(DEFINITION, namespace)
    lab.kubectl("wait", "crd/websites.example.org", "--for=condition=Established", "--timeout=20s")
    with (tmp_path / "log").open("wb") as log:
        command = [str(program("operator")), "-cluster", str(lab.kubeconfig), "-namespace", namespace]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    yield process
    process.terminate()
    assert process.wait(20) == 0, (tmp_path / "log").read_text()
    lab.kubectl("delete", "crd", "websites.example.org", "--timeout=30s")


def test_an_operator_keeps_what_belongs_to_its_objects_and_holds_their_end(lab, namespace, operator):
    lab.apply(SITE, namespace)
    lab.kubectl("wait", "website/home", "-n", namespace, "--for=condition=Available", "--timeout=60s")
    site = lab.get("website", "home", "-n", namespace)
    assert site["metadata"]["finalizers"] == ["example.org/ledger"]
    assert (site["status"]["ready"], site["status"]["observedGeneration"]) == (1, 1)
    (pod,) = lab.get("pods", "-n", namespace)["items"]
    assert lab.exec(pod["metadata"]["name"], "wget", "-qO-", "http://127.0.0.1:8080", namespace=namespace).stdout == "hello"
    lab.kubectl("scale", "website/home", "--replicas=2", "-n", namespace)
    lab.wait_for("two of them", lambda: lab.get("website", "home", "-n", namespace)["status"]["ready"] == 2)
    lab.kubectl("delete", "deployment", "home", "-n", namespace)
    lab.wait_for("a new Deployment", lambda: lab.get("deployment", "home", "-n", namespace)["status"].get("readyReplicas") == 2)
    refused = lab.kubectl("scale", "website/home", "--replicas=6", "-n", namespace, check=False)
    assert "should be less than or equal to 5" in refused.stderr
    lab.kubectl("delete", "website", "home", "-n", namespace, "--timeout=30s")
    assert lab.get("configmap", "ledger", "-n", namespace)["data"] == {"home": site["metadata"]["uid"]}
    lab.wait_for("what belonged to it to go", lambda: not lab.get("deployments,pods", "-n", namespace)["items"])
    assert operator.poll() is None
