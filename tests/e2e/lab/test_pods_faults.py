"""The node's programs are killed under running pods, and the node itself loses its power."""

import contextlib

import pytest

from moorings_labs import layout as layouts

from .pods_support import IMAGE, config_map, container, pod, room

pytestmark = pytest.mark.lab
SERVE = "mkdir /www; cat /proc/sys/kernel/random/uuid > /www/id; httpd -p 8080 -h /www; exec sleep 3600"
KILL = """
for process in /proc/[0-9]*; do
    if tr "\\0" " " < $process/cmdline 2>/dev/null | grep -q "^{start}"; then kill -9 ${{process#/proc/}} && echo killed; fi
done"""
PATIENT = {"tolerations": [{"key": f"node.kubernetes.io/{k}", "operator": "Exists"} for k in ("unreachable", "not-ready")]}


@pytest.fixture
def node(lab):
    """The first node."""
    return min(n["metadata"]["name"] for n in lab.get("nodes")["items"])


@pytest.fixture
def pods(lab, node):
    with room(lab) as made:
        volume = [{"name": "map", "configMap": {"name": "settings"}}, {"name": "empty", "emptyDir": {}}]
        mounts = [{"name": "map", "mountPath": "/map"}, {"name": "empty", "mountPath": "/empty"}]
        elsewhere = next(n["metadata"]["name"] for n in lab.get("nodes")["items"] if n["metadata"]["name"] != node)
        made.apply(
            config_map("settings", a="1"),
            pod("served", container(script=SERVE, volumeMounts=mounts), nodeName=node, volumes=volume, **PATIENT),
            pod("crashing", container(script="exit 1"), nodeName=node),
            pod("done", container(script="echo finished"), nodeName=node, restartPolicy="Never", **PATIENT),
            pod("client", container(), nodeName=elsewhere),
        )
        made.ready("served", "client")
        made.phase("done", "Succeeded")
        yield made


def kill(lab, node, start):
    """Kill -9 the node's programs whose command line starts so; return whether there was one."""
    return lab.node(node, "sh", "-c", KILL.format(start=start)).split()


def identity(pods):
    """Ask the pod over the network who it is."""
    return pods.sh("client", f"timeout 2 wget -qO- http://{pods.get('served')['status']['podIP']}:8080/id")


def facts(pods):
    """What must not change when a program of the node is killed."""
    found = pods.get("served")
    status = found["status"]["containerStatuses"][0]
    return found["metadata"]["uid"], found["status"]["podIP"], status["containerID"], status["restartCount"]


def agent_answers(pods, name="served"):
    """Whether exec goes through: API server, agent and containerd are all up again."""
    return pods.lab.exec(name, "true", namespace=pods.namespace, check=False).returncode == 0


@pytest.mark.parametrize("start", ["[^ ]*python[^ ]* -m moorings_core.cli [a]gent", "[c]ontainerd --config"], ids=["agent", "containerd"])
def test_pods_outlive_the_agent_and_containerd_and_are_taken_over(lab, node, pods, start):
    before, known = facts(pods), identity(pods)
    assert kill(lab, node, start)
    assert identity(pods) == known
    lab.wait_for("exec again", lambda: agent_answers(pods))
    pods.apply(config_map("settings", a="2"), pod("late", container(), nodeName=node))
    lab.wait_for("the new content", lambda: pods.sh("served", "cat /map/a") == "2")
    pods.ready("late")
    assert facts(pods) == before
    assert identity(pods) == known
    assert pods.logs("done") == "finished\n"
    restarts = pods.status("crashing")["restartCount"]
    lab.wait_for("restarts go on", lambda: pods.status("crashing")["restartCount"] > restarts)
    kill_and_delete(lab, node, pods, start)


def kill_and_delete(lab, node, pods, start):
    """A pod that is deleted while nobody looks after it is ended as soon as somebody does."""
    uid = pods.get("late")["metadata"]["uid"]
    pods.kubectl("delete", "pod", "late", "--wait=false")
    kill(lab, node, start)
    pods.kubectl("wait", "--for=delete", "pod/late", "--timeout=30s")
    lab.wait_for("nothing is left of it", lambda: uid not in traces(lab, node))


def traces(lab, node):
    """Everything of pods that can be left on a node: directories, logs, mounts, cgroups, processes."""
    place = f"{layouts.root()}/{lab.name}/nodes/{node}/agent"
    words = f"ls {place}/pods {place}/logs; cat /proc/mounts; find /sys/fs/cgroup -maxdepth 7 -name 'pod*'; cat /proc/[0-9]*/cgroup"
    return lab.node(node, "sh", "-c", words, check=False)


def test_pods_of_a_node_that_lost_its_power_come_back_in_new_sandboxes_and_nothing_old_stays(lab, node, pods):
    uid, _, run, _ = facts(pods)
    pods.sh("served", "echo kept > /empty/word")
    gone = pod("gone", container(), nodeName=node, **PATIENT)
    pods.apply(gone)
    pods.ready("gone")
    lost = pods.get("gone")["metadata"]["uid"]
    with contextlib.ExitStack() as after:
        after.callback(lab.moorings, "node", "start", node)
        lab.moorings("node", "poweroff", node)
        pods.kubectl("delete", "pod", "gone", "--force", "--grace-period=0")
    lab.wait_for("the pod again", lambda: pods.status("served").get("restartCount") == 1 and pods.status("served")["ready"])
    found = facts(pods)
    assert found[0] == uid
    assert found[2] != run
    assert pods.sh("served", "cat /empty/word /map/a").split() == ["kept", "1"]
    assert identity(pods)
    assert pods.phase("done", "Succeeded")["status"]["containerStatuses"][0]["restartCount"] == 0
    lab.wait_for("nothing is left of the deleted one", lambda: lost not in traces(lab, node))
    lab.kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=30s")


@pytest.mark.timeout(90)
def test_a_sandbox_that_containerd_lost_track_of_is_ended(lab, node):
    """Made by hand: what a containerd that is killed while it makes a sandbox leaves behind now and then."""
    name, annotation = "moorings-test-lost", "io.kubernetes.cri.container-type=sandbox"
    socket = layouts.Layout(lab.name, layouts.load(lab.name).number).node_run(node) / "containerd.sock"
    ctr = ("ctr", "-a", str(socket), "-n", "k8s.io")
    lab.node(node, *ctr, "run", "-d", "--annotation", annotation, IMAGE, name, "sleep", "7654321")
    assert "7654321" in lab.node(node, "ps", "axww").split()
    lab.wait_for("its end", lambda: not {"7654321", name} & set(lab.node(node, "ps", "axww").split()), 60)
    lab.node(node, *ctr, "task", "rm", name, check=False)
    lab.node(node, *ctr, "containers", "rm", name)
