"""kill -9 at any moment: no address twice, none lost, no link left; and running pods do not notice."""

import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cni_support import Pod, sh, until
from tests.traffic import Echo, ask_tcp

pytestmark = pytest.mark.netns


class Process:
    """The node's network as a process."""

    def __init__(self, node) -> None:
        self.node, self.process = node, None

    def start(self) -> None:
        node = self.node
        script = str(Path(__file__).parent / "node_process.py")
        log = (node.root.parent / "log").open("a")
        with log:
            self.process = subprocess.Popen(
                [sys.executable, script, node.path, node.root, node.run_dir, node.name, node.address, node.cidrs[0]],
                stdout=log, stderr=log,
            )  # fmt: skip
        until(lambda: node.conflist.exists() and self.answers(), 30, "process serves")

    def answers(self) -> bool:
        return self.node.cni("VERSION")[0] == 0

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def daemon(fabric):
    node = fabric(nodes=1, start=False).nodes[0]
    process = Process(node)
    process.start()
    yield process
    process.kill()


def host_links(node) -> int:
    return node.sh("ip", "-o", "link", "show", "type", "veth").count(": mo")


def test_a_hundred_at_once_and_kills_in_between(daemon):
    node = daemon.node
    pods = [node.pod() for _ in range(100)]
    stop = threading.Event()
    chance = random.Random(4)

    def wire(pod: Pod) -> Pod:
        while True:  # as a runtime does: a failed ADD is followed by DEL and by another try
            code, result = pod.cni("ADD")
            if code == 0:
                pod.ip = result["ips"][0]["address"].split("/")[0]
                pod.result = result
                return pod
            assert pod.cni("DEL")[0] == 0
            assert not stop.is_set(), result
            time.sleep(0.1)

    def killer() -> None:
        for _ in range(5):
            time.sleep(chance.uniform(0.15, 0.5))
            daemon.kill()
            daemon.start()

    thread = threading.Thread(target=killer)
    thread.start()
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(wire, pods))
    thread.join()
    stop.set()
    assert len({pod.ip for pod in done}) == 100, "no address twice"
    until(lambda: host_links(node) == 100, what="no orphan link")
    until(lambda: all(pod.cni("CHECK", prevResult=pod.result)[0] == 0 for pod in done[::10]), what="all is as made")
    with ThreadPoolExecutor(8) as pool:
        assert all(code == 0 for code, _ in pool.map(lambda pod: pod.cni("DEL"), pods))
    assert host_links(node) == 0 and "10.64.1." not in node.sh("ip", "route", "show", "type", "unicast")
    assert node.cni("STATUS", version="1.1.0") == (0, {})


def test_running_pods_do_not_notice_and_addresses_are_remembered(daemon):
    node = daemon.node
    a, b = node.pod().add(), node.pod().add()
    server = Echo(b.path)
    try:
        daemon.kill()
        assert ask_tcp(a.path, b.ip) == a.ip
        sh("ip", "netns", "del", b.name)  # a pod dies while nobody looks
        node.fabric.names.remove(b.name)
        daemon.start()
        until(lambda: host_links(node) == 1, what="its link goes")
        assert a.cni("CHECK", prevResult=a.result) == (0, {})
        assert node.pod().add().ip not in (a.ip, b.ip)
    finally:
        server.close()


def test_after_a_reboot_all_addresses_are_free(daemon):
    node = daemon.node
    pods = [node.pod().add() for _ in range(5)]
    daemon.kill()
    for pod in pods:  # what a power cut leaves: the files of the node, nothing of its kernel
        sh("ip", "netns", "del", pod.name)
        node.fabric.names.remove(pod.name)
    until(lambda: host_links(node) == 0, what="links are gone with the namespaces")
    journal = node.root / "cni/attachments.journal"
    text = journal.read_text()
    assert text.count('"add"') == 5
    journal.write_text(text.replace('"boot": "', '"boot": "another-') + '{"add": {"torn')
    daemon.start()
    assert '"add"' not in journal.read_text()
    code, _ = node.cni("DEL", pods[0].id)
    assert code == 0
