"""`moorings server` on stores: exchanged in use, shared by two servers, backed up and restored."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from moorings_core.client.http import HttpClient
from moorings_core.client.resources import CONFIG_MAPS
from moorings_core.ports.errors import ApiError
from tests.e2e.access.server_process import Server

from .conftest import FAST, config_map


def moorings(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "moorings_core.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done


class Load:
    """Writers and a watch over HTTPS; nothing that was acknowledged may be missing, no watch event may be doubled."""

    def __init__(self, kubeconfig: Path) -> None:
        self.client = HttpClient.from_kubeconfig(kubeconfig)
        self.acknowledged: dict[str, str] = {}
        self.refused: list[str] = []
        self.seen: list[tuple[str, str]] = []
        self.stop = asyncio.Event()

    async def write(self, number: int) -> None:
        n = 0
        while not self.stop.is_set():
            name = f"load-{number}-{n}"
            try:
                made = await self.client.create(CONFIG_MAPS, config_map(name))
                again = await self.client.update(CONFIG_MAPS, {**made, "data": {"value": "second"}})
                self.acknowledged[name] = again["metadata"]["resourceVersion"]
            except ApiError as error:
                self.refused.append(str(error))
            n += 1

    async def watch(self, since: str) -> None:
        async for event in self.client.watch(CONFIG_MAPS, "default", since=since):
            metadata = event.object["metadata"]
            self.seen.append((metadata["name"], metadata["resourceVersion"]))


async def test_the_store_is_exchanged_under_load_and_stays_exchanged_after_a_crash(server, etcd, tmp_path):
    await asyncio.to_thread(server.start)
    kubeconfig = server.data / "pki/admin.kubeconfig"
    load = Load(kubeconfig)
    since = (await load.client.list(CONFIG_MAPS, "default")).version
    watching = asyncio.create_task(load.watch(since))
    writing = [asyncio.create_task(load.write(n)) for n in range(8)]
    swap = ("swap", "store", "--kubeconfig", kubeconfig)
    said = await asyncio.to_thread(moorings, *swap, "etcd", "-p", f"endpoints={etcd.endpoint}")
    assert said.stdout.startswith("the store is etcd after ")
    said = await asyncio.to_thread(moorings, *swap, "sqlite")
    assert said.stdout.startswith("the store is sqlite after ")
    await asyncio.to_thread(moorings, *swap, "etcd", "-p", f"endpoints={etcd.endpoint}", "-p", "prefix=again")
    load.stop.set()
    await asyncio.gather(*writing)
    assert load.acknowledged and not load.refused
    last = await load.client.create(CONFIG_MAPS, config_map("last"))
    async with asyncio.timeout(20):
        while not load.seen or load.seen[-1][0] != "last":
            await asyncio.sleep(0.02)
    watching.cancel()
    versions = [int(version) for _, version in load.seen]
    assert versions == sorted({*versions})
    await _has_all(load, {**load.acknowledged, "last": last["metadata"]["resourceVersion"]})
    assert load.acknowledged.items() <= dict(load.seen).items()
    server.stop(signal.SIGKILL)
    await asyncio.to_thread(server.start)
    assert json.loads((server.data / "store.json").read_text())["parameters"]["prefix"] == "again"
    await _has_all(load, load.acknowledged)
    await load.client.close()


async def _has_all(load: Load, wanted: dict[str, str]) -> None:
    listed = (await load.client.list(CONFIG_MAPS, "default")).items
    assert wanted.items() <= {o["metadata"]["name"]: o["metadata"]["resourceVersion"] for o in listed}.items()


def test_what_cannot_be_exchanged_says_why_and_the_server_goes_on(server, etcd):
    server.start()
    swap = ("swap", "store", "--kubeconfig", server.data / "pki/admin.kubeconfig")
    etcd.stop()
    refused = moorings(*swap, "etcd", "-p", f"endpoints={etcd.endpoint}", check=False)
    etcd.start()
    assert (refused.returncode, "etcd: " in refused.stderr) == (1, True)
    assert "the choice was taken back" in refused.stderr
    assert moorings(*swap, "etcd", "-p", "endpoint=x", check=False).stderr.startswith("moorings: server.store.parameters.endpoint: ")
    assert moorings(*swap, "oracle", check=False).returncode == 2
    assert "forgets everything when the server ends" in moorings(*swap, "memory", check=False).stderr
    server.apply(config_map("goes-on"))
    found = server.get("configmap", "moorings", "-n", "kube-system")
    assert "etcd" not in found["data"]["cluster.yaml"]
    moorings(*swap, "etcd", "-p", f"endpoints={etcd.endpoint}")
    assert server.get("configmap", "goes-on")


def test_two_servers_on_one_etcd_are_one_cluster(pair):
    one, two = pair
    for n in range(5):
        one.apply(config_map(f"a{n}"))
        assert two.get("configmap", f"a{n}")["metadata"]["name"] == f"a{n}"
        two.kubectl("delete", "configmap", f"a{n}")
        one.apply(config_map(f"a{n}", "again"))
    listed = two.get("leases", "-n", "kube-system", "-l", "apiserver.kubernetes.io/identity=kube-apiserver")["items"]
    assert len(listed) == 2
    refused = moorings("swap", "store", "sqlite", "--kubeconfig", one.data / "pki/admin.kubeconfig", check=False)
    assert refused.returncode == 1
    assert "other servers use the store, too" in refused.stderr

    def leader() -> str:
        return one.get("lease", "kube-controller-manager", "-n", "kube-system")["spec"]["holderIdentity"]

    def led_to() -> list[str]:
        (piece,) = two.get("endpointslices", "-l", "kubernetes.io/service-name=kubernetes")["items"]
        return [address for endpoint in piece["endpoints"] for address in endpoint["addresses"]]

    two.wait_for("the service kubernetes leads to both", lambda: led_to() == ["127.0.0.1", "127.0.0.2"])
    first = one.wait_for("a leader", leader)
    working = one if f'"{first}"' in one.log or first in one.log else two
    other = two if working is one else one
    working.stop(signal.SIGKILL)
    other.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later"}})
    other.wait_for("its controllers", lambda: other.kubectl("get", "serviceaccount", "default", "-n", "later", check=False).stdout)
    taken = other.get("lease", "kube-controller-manager", "-n", "kube-system")["spec"]
    assert taken["holderIdentity"] != first


@pytest.mark.parametrize("backend", ["sqlite", "etcd"])
def test_a_backup_of_a_working_server_is_restored_elsewhere(server, etcd, tmp_path, backend):
    parameters = {"endpoints": etcd.endpoint} if backend == "etcd" else {}
    server.start(store={"backend": backend, "parameters": parameters})
    server.apply(config_map("kept", "value"))
    server.kubectl("create", "secret", "generic", "hidden", "--from-literal=word=swordfish")
    before = server.get("configmap", "kept")
    file = tmp_path / "backup"
    moorings("backup", file, "--data", server.data, "--config", server.root / "cluster.yaml")
    assert file.stat().st_mode & 0o777 == 0o600
    server.apply(config_map("lost"))
    server.stop(signal.SIGKILL)
    there = moorings("restore", file, "--data", server.data, check=False)
    assert (there.returncode, "is not empty" in there.stderr) == (2, True)
    other = Server(tmp_path / "one", FAST)
    other.data, other.port = tmp_path / "restored", server.port
    moorings("restore", file, "--data", other.data)
    try:
        other.start()
        found = other.get("configmap", "kept")
        assert found == before
        assert other.get("secret", "hidden")["data"] == {"word": "c3dvcmRmaXNo"}
        assert (other.data / "pki/front-proxy/ca.crt").read_bytes() == (server.data / "pki/front-proxy/ca.crt").read_bytes()
        assert not other.kubectl("get", "configmap", "lost", "--ignore-not-found").stdout
        other.apply(config_map("newer"))
        assert int(other.get("configmap", "newer")["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
    finally:
        other.stop()


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"PK" + data, lambda data: b""])
def test_a_damaged_backup_is_refused_and_leaves_nothing(tmp_path, server, damage):
    server.start()
    file, broken = tmp_path / "backup", tmp_path / "broken"
    moorings("backup", file, "--data", server.data)
    broken.write_bytes(damage(file.read_bytes()))
    done = moorings("restore", broken, "--data", tmp_path / "restored", check=False)
    assert (done.returncode, "no whole backup" in done.stderr) == (2, True)
    assert not (tmp_path / "restored").exists()
