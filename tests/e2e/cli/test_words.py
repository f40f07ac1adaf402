"""What the command line says: data on stdout, words on stderr, exit codes that scripts can rely on, errors that help."""

import json
import os
import sys

import pytest
import yaml

from moorings_labs import images
from moorings_labs.cluster import run

pytestmark = pytest.mark.lab
MOORINGS = [sys.executable, "-m", "moorings_core.cli"]
NOBODY = ["setpriv", "--reuid", "65534", "--clear-groups"]
NO_NETWORK_RIGHTS = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("network: {backend: carrier-pigeon}", ["no network backend 'carrier-pigeon'", "installed: routed, underlay, vxlan"]),
        ("services: {backend: x}", ["no proxy backend 'x'", "nftables"]),
        ("server: {store: {backend: x}}", ["no store backend 'x'", "memory, sqlite"]),
        ("network:\n  podCIDR: [10.1.0.0/16]", ["{file}:2: network.podCIDR: no such field", "podCIDRs"]),
        ("network: {mtu: wide}", ["{file}:1: network.mtu: expected a whole number"]),
        ("storage: [{fsType: xfs}]", ["{file}:1: storage[0].fsType: no such field"]),
        ("lab: {nodes: [{count: 2}]}", ["{file}:1: lab.nodes: expected exactly one node with the role server"]),
        ("lab: {nodes: [{name: a, cpu: many}]}", ["{file}:1: lab.nodes[0].cpu: expected a number"]),
        ("network: [", ["{file}:1:", "not valid YAML"]),
        ("network: {}\nnetwork: {}", ["{file}:2: network: is given twice"]),
    ],
)
def test_a_wrong_cluster_file_ends_with_2_and_says_where_and_what_was_expected(tmp_path, document, expected):
    file = tmp_path / "cluster.yaml"
    file.write_text(document)
    done = run([*MOORINGS, "up", "-f", str(file), "--name", f"never{os.getpid()}"], check=False)
    assert (done.returncode, done.stdout) == (2, "")
    for words in expected:
        assert words.format(file=file) in done.stderr


@pytest.mark.parametrize(
    ("before", "words"),
    [(NOBODY, "not root"), (NO_NETWORK_RIGHTS, "CAP_NET_ADMIN is not ours to use"), (["env", "PATH=/nowhere"], "is not installed")],
)
def test_without_what_a_lab_needs_one_sentence_says_what_is_lost(before, words):
    done = run([*before, *MOORINGS, "up", "--name", f"never{os.getpid()}"], check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "without it there are no" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("status", "--name", "nowhere"), 4),
        (("down", "nowhere"), 4),
        (("kubeconfig", "--name", "nowhere"), 4),
        (("exec", "node-1", "--name", "nowhere", "--", "true"), 4),
        (("up", "-f", "/no/such/file"), 2),
        (("up", "--wait", "soon"), 2),
        (("fly",), 2),
        (("status", "-o", "xml"), 2),
        (("--version",), 0),
        (("up", "--help"), 0),
    ],
)
def test_exit_codes(words, code):
    assert run([*MOORINGS, *words], check=False).returncode == code


def test_help_names_every_verb_with_what_it_does():
    lines = run([*MOORINGS, "--help"]).stdout.splitlines()
    verbs = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.startswith("  ") and len(line.split(maxsplit=1)) == 2}
    expected = "up down status kubeconfig load exec logs node swap doctor verify server agent"
    assert set(expected.split()) <= verbs.keys()
    for verb in expected.split():
        assert len(verbs[verb].split()) > 2, verb


def test_status_in_every_format(lab):
    by_json = json.loads(lab.moorings("status", "-o", "json").stdout)
    names = [node["name"] for node in by_json["nodes"]]
    assert names == ["server", "node-1", "node-2", "node-3"]
    assert set(by_json["nodes"][1]) == {"name", "roles", "power", "ready", "address", "pods", "pid"}
    assert yaml.safe_load(lab.moorings("status", "-o", "yaml").stdout).keys() == by_json.keys()
    assert lab.moorings("status", "-o", "name").stdout.split() == names
    assert lab.moorings("status").stdout.splitlines()[0].split() == ["NAME", "ROLES", "POWER", "READY", "ADDRESS"]
    assert lab.moorings("status", "-o", "wide").stdout.splitlines()[0].split()[-2:] == ["PODS", "PID"]


def test_exec_gives_the_command_s_output_and_exit_code(lab):
    done = lab.moorings("exec", "node-1", "--", "sh", "-c", "hostname; echo oops >&2; exit 7", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("node-1\n", "oops\n", 7)
    missing = lab.moorings("exec", "node-9", "--", "true", check=False)
    assert missing.returncode == 4
    assert "it has server, node-1, node-2, node-3" in missing.stderr


def test_logs_of_a_node_and_of_a_component(lab):
    assert "pod network is ready" in lab.moorings("logs", "node-1").stdout
    assert lab.moorings("logs", "agent").stdout.count("==>") == 3
    assert lab.moorings("logs", "nothing", check=False).returncode == 4


def test_an_archive_is_loaded_on_every_node_and_something_else_is_refused(lab, tmp_path):
    archive, name = tmp_path / "image.tar", f"example.org/loaded:{os.getpid()}"
    images.busybox_archive(archive, (name,))
    rows = json.loads(lab.moorings("load", str(archive), "-o", "json").stdout)["nodes"]
    assert {row["name"]: row["state"] for row in rows} == dict.fromkeys(("node-1", "node-2", "node-3"), "loaded")
    for node in ("node-1", "node-3"):
        status = lab.get("node", node)["status"]
        assert status["nodeInfo"]["architecture"] == "amd64"
    wrong = tmp_path / "wrong.tar"
    wrong.write_text("not an archive")
    refused = lab.moorings("load", str(wrong), check=False)
    assert refused.returncode == 1
    assert "is no image archive" in refused.stderr


def test_doctor_names_what_is_missing_and_what_that_costs():
    done = run([*MOORINGS, "doctor", "-o", "json"], check=False)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0
    assert {checks[name]["verdict"] for name in ("root", "containerd", "veth", "nf_tables", "overlay")} == {"ok"}
    for check in checks.values():
        assert (check["verdict"] == "ok") == (check["problem"] == "")
        assert (check["verdict"] == "ok") == (check["costs"] == "")


def test_doctor_fails_where_no_lab_can_run():
    done = run([*NOBODY, *MOORINGS, "doctor", "-o", "json"], check=False)
    assert done.returncode == 1
    assert {c["name"]: c["verdict"] for c in json.loads(done.stdout)["checks"]}["root"] == "FAILED"
