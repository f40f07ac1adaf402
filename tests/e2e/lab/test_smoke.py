"""The shortest proof that a lab is a cluster."""

import pytest

pytestmark = pytest.mark.lab

POD = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "moorings.dev/busybox:1", command: [sleep, "3600"]}]
"""


def test_a_pod_runs_and_answers_exec(lab, namespace):
    lab.apply(POD, namespace)
    lab.wait_ready("one", namespace=namespace)
    assert lab.exec("one", "echo", "hello", namespace=namespace).stdout == "hello\n"
