"""A node takes no more volumes than its driver says: the scheduler counts before it places."""

from __future__ import annotations

import pytest

from .test_volumes import apply, claim, events, home, pod, volume

pytestmark = pytest.mark.lab
LIMITED = """
storage: [{name: few, backend: image, parameters: {fsType: ext4, attachLimit: 2}}]
lab:
  profile: fast
  nodes: [{name: server, roles: [server]}, {count: 2, memory: 1Gi}]
"""


@pytest.mark.timeout(240)
def test_pods_go_where_volumes_still_fit_and_wait_where_none_do(make_lab):
    lab, names, where = make_lab(LIMITED), [f"data{number}" for number in range(5)], "default"
    objects = [made for name in names for made in (claim(name, storage="few"), pod(f"user-{name}", volume(name)))]
    apply(lab, where, *objects)

    def running():
        return [p["metadata"]["name"] for p in lab.get("pods", "-n", where)["items"] if p["status"].get("phase") == "Running"]

    lab.wait_for("four pods, two on each node", lambda: len(running()) == 4)
    (left,) = {f"user-{name}" for name in names} - set(running())
    homes = [home(lab, where, name) for name in running()]
    assert sorted(homes) == ["node-1"] * 2 + ["node-2"] * 2
    lab.wait_for("the fifth to say why", lambda: "2 node(s) exceed max volume count" in events(lab, where, left))
    lab.kubectl("delete", "pod", running()[0], "-n", where)
    lab.wait_ready(left, namespace=where)
