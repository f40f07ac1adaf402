"""Labs come, stay, are interrupted and go: nothing is made twice, and nothing is left on the machine."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from moorings_labs import audit, layout
from moorings_labs.cluster import Cluster, run

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]
MOORINGS = [sys.executable, "-m", "moorings_core.cli"]
SMALL = "lab: {profile: fast, nodes: [{name: server, roles: [server]}, {count: 1}]}\n"
counter = itertools.count()


@pytest.fixture
def small(tmp_path):
    """The name of a lab that is not there yet, the file to make it from; whatever a test leaves of it is taken down."""
    name = f"c{os.getpid()}-{next(counter)}"
    file = tmp_path / "cluster.yaml"
    file.write_text(SMALL)
    yield name, file
    if layout.load(name) is not None:
        run([*MOORINGS, "down", name])


def up(name: str, file: Path) -> None:
    """Make a lab."""
    run([*MOORINGS, "up", "-f", str(file), "--name", name], timeout=120)


def pids(name: str) -> dict[str, int]:
    """Return PID 1 of every node as the machine sees it."""
    return {node["name"]: node["pid"] for node in json.loads(Cluster(name).moorings("status", "-o", "json").stdout)["nodes"]}


def what_changed(before: set[audit.Resource]) -> list[str]:
    """Return what is on the machine now and was not before, or the other way round; other labs may come and go."""
    now = audit.read()
    others = audit.living() | {r.lab for r in before if r.lab}
    return audit.difference(before, now, others)


def started(name: str, file: Path) -> subprocess.Popen[str]:
    """Start `moorings up` and leave it running."""
    command = [*MOORINGS, "up", "-f", str(file), "--name", name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def await_path(process: subprocess.Popen[str], path: Path) -> None:
    """Wait until the running `up` has made a path."""
    while not path.exists():
        assert process.poll() is None, process.communicate()


def test_up_twice_changes_nothing_and_down_leaves_nothing(small):
    name, file = small
    before = audit.read()
    up(name, file)
    first, made = pids(name), audit.read()
    assert all(first.values())
    assert {r.kind for r in made - before} >= {"link", "address", "route", "namespace", "cgroup", "process", "file"}
    up(name, file)
    assert pids(name) == first
    run([*MOORINGS, "down", name])
    assert what_changed(before) == []
    assert run([*MOORINGS, "status", "--name", name], check=False).returncode == 4


def test_the_machine_s_own_namespace_gets_one_link_and_nothing_else(small):
    name, file = small
    before = audit.read()
    up(name, file)
    made = layout.find(name)
    came = [r for r in audit.read() - before if r.lab in ("", made.id)]
    assert [r.name for r in came if r.kind in ("link", "table")] == [made.access_link]
    assert {r.name for r in came if r.kind == "address" and ":" not in r.name} == {f"{made.address(254)}/24 dev {made.access_link}"}
    assert all(r.name.startswith(f"/run/netns/{made.namespace('')}") for r in came if r.kind == "mount")


def test_another_file_for_a_lab_that_is_there_is_refused_and_says_what_differs(small):
    name, file = small
    up(name, file)
    file.write_text(SMALL + "services: {CIDRs: [10.97.0.0/16]}\n")
    refused = run([*MOORINGS, "up", "-f", str(file), "--name", name], check=False)
    assert refused.returncode == 1
    assert "services" in refused.stderr
    assert f"moorings down {name}" in refused.stderr


def test_interrupted_by_the_user_it_undoes_what_it_made(small):
    name, file = small
    before = audit.read()
    process = started(name, file)
    await_path(process, layout.root() / name / "nodes" / "node-1" / "pid")
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert "undoing" in words
    assert what_changed(before) == []


@pytest.mark.parametrize("moment", ["state.json", "nodes/server/init.json", "nodes/node-1/pid"])
def test_killed_anywhere_the_next_up_finishes_and_down_still_leaves_nothing(small, moment):
    name, file = small
    before = audit.read()
    process = started(name, file)
    await_path(process, layout.root() / name / moment)
    process.kill()
    process.communicate(timeout=60)
    up(name, file)
    rows = json.loads(Cluster(name).moorings("status", "-o", "json").stdout)["nodes"]
    assert {row["name"]: row["ready"] for row in rows} == {"server": "-", "node-1": "yes"}
    run([*MOORINGS, "down", name])
    assert what_changed(before) == []


def test_a_lab_half_made_can_be_taken_down(small):
    name, file = small
    before = audit.read()
    process = started(name, file)
    await_path(process, layout.root() / name / "nodes" / "server" / "init.json")
    process.kill()
    process.communicate(timeout=60)
    run([*MOORINGS, "down", name])
    assert what_changed(before) == []


def test_a_server_killed_in_the_middle_of_up_is_started_again_and_up_goes_on(small):
    name, file = small
    process = started(name, file)
    await_path(process, layout.root() / name / "nodes" / "server" / "server" / "store")
    (killed,) = audit.processes_of(layout.find(name).id, "moorings_core.cli server")
    os.kill(killed, signal.SIGKILL)
    _, words = process.communicate(timeout=120)
    assert process.returncode == 0, words
    assert Cluster(name).kubectl("get", "nodes", "-o", "name").stdout == "node/node-1\n"


def test_two_labs_at_once_do_not_meet(small, tmp_path):
    name, file = small
    other = f"{name}-b"
    processes = [started(name, file), started(other, file)]
    words = [process.communicate(timeout=180)[1] for process in processes]
    try:
        assert [process.returncode for process in processes] == [0, 0], words
        assert layout.find(name).number != layout.find(other).number
        assert not set(pids(name).values()) & set(pids(other).values())
    finally:
        run([*MOORINGS, "down", other])
    assert Cluster(name).kubectl("get", "nodes", "-o", "name").stdout == "node/node-1\n"


def test_verify_names_what_a_lab_that_is_gone_has_left():
    number = f"{os.getpid():04x}"[-4:]
    namespace = f"moor-{number}-left"
    run(["ip", "netns", "add", namespace])
    try:
        found = run([*MOORINGS, "verify", "-o", "json"], check=False)
        assert found.returncode == 1
        assert {"kind": "namespace", "lab": number, "name": namespace} in json.loads(found.stdout)["leftovers"]
    finally:
        run(["ip", "netns", "delete", namespace])
    assert namespace not in run([*MOORINGS, "verify"], check=False).stdout
