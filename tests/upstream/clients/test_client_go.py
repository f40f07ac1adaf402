"""A controller on client-go's shared informers and leader election (go/informer), which nobody here had a hand in."""

import subprocess

import pytest


@pytest.fixture
def copies(lab, namespace, program, tmp_path):
    """Start copies of the controller by name; all are killed in the end."""
    running: dict[str, subprocess.Popen[bytes]] = {}

    def start(name):
        with (tmp_path / name).open("wb") as log:
            command = [program("informer"), "-kubeconfig", lab.kubeconfig, "-namespace", namespace, "-identity", name]
            running[name] = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
        return running[name]

    yield start
    for process in running.values():
        process.kill()
        process.wait(10)


def secrets(lab, namespace):
    return {s["metadata"]["name"]: s["data"] for s in lab.get("secrets", "-n", namespace)["items"]}


def mirrored(lab, namespace, names, value):
    lab.wait_for("every mirror", lambda: secrets(lab, namespace) == {name: {"v": value} for name in names})


def told(lab, namespace):
    events = lab.get("events", "-n", namespace, "--field-selector", "reason=Mirrored")["items"]
    return {event["involvedObject"]["name"] for event in events}


def maps(names, value):
    head = "apiVersion: v1\nkind: ConfigMap\n"
    return "---\n".join(f"{head}metadata: {{name: {name}, labels: {{mirror: 'yes'}}}}\ndata: {{v: {value}}}\n" for name in names)


def test_one_copy_leads_and_the_other_takes_over_when_it_is_killed(lab, namespace, copies):
    first, second = copies("first"), None

    def holder():
        return lab.get("lease", "mirror", "-n", namespace)["spec"]["holderIdentity"]

    lab.wait_for("a leader", lambda: holder() == "first")
    second = copies("second")
    names = [f"m{n}" for n in range(20)]
    lab.apply(maps(names, "one"), namespace)
    mirrored(lab, namespace, names, "b25l")
    lab.wait_for("an event about every mirror", lambda: told(lab, namespace) == set(names))
    first.kill()
    lab.apply(maps(names, "two"), namespace)
    lab.wait_for("the other leader", lambda: holder() == "second")
    mirrored(lab, namespace, names, "dHdv")
    lab.kubectl("delete", "secret", "m0", "-n", namespace)
    mirrored(lab, namespace, names, "dHdv")
    lab.kubectl("delete", "configmap", *names[10:], "-n", namespace)
    mirrored(lab, namespace, names[:10], "dHdv")
    assert second.poll() is None
