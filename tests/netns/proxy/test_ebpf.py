"""What the ebpf backend alone does: no packet is translated, sockets see what they asked for, programs outlive the process."""

import asyncio
import dataclasses
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import netlab
import pytest

from moorings_core.kernel import bpf, mounts, sock_diag
from moorings_core.kernel.conntrack import Conntrack
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ProxyError, ProxySettings, ServiceEntry, ServicePort
from moorings_proxy.ebpf import EbpfProxy, source
from moorings_proxy.ebpf.hooks import LINKS

pytestmark = pytest.mark.netns
WEB, VIP, VIP6 = Key("default", "web"), "10.96.0.20", "fd96::20"


@pytest.fixture
def world(lab) -> Iterator[object]:
    """Two serving pods and a client, in a cgroup of their own."""
    if lacking := source.missing():
        pytest.skip(lacking)
    lab.three = [lab.pod() for _ in range(3)]
    for name in ("p1", "p2"):
        lab.serve(name)
    with netlab.cgroup(lab) as name:
        lab.group = name
        lab.pins = bpf.FILE_SYSTEM / "moorings" / str(lab.cgroup.stat().st_ino)
        yield lab
        subprocess.run(["rm", "-rf", str(lab.pins)], check=True)


@pytest.fixture
def make(world) -> Callable[[], EbpfProxy]:
    return lambda: EbpfProxy(settings(world))


def settings(world, **more) -> ProxySettings:
    return ProxySettings(("10.64.0.0/16", "fd64::/64"), ("10.96.0.0/16", "fd96::/112"), netns=world.node, cgroup=world.group, **more)


@pytest.fixture
async def proxy(make):
    proxy = make()
    yield proxy
    await proxy.close()


def entry(*addresses: str) -> ServiceEntry:
    endpoints = tuple(Endpoint(a, 8080) for a in addresses)
    return ServiceEntry(tuple(ServicePort(p, 80, 0, endpoints) for p in ("TCP", "UDP")), (VIP, VIP6))


def tracked(world, protocol: int) -> set[str]:
    """Return the original destinations of the flows that the node's kernel tracks."""
    with closing(Conntrack(world.node)) as conntrack:
        return {flow.original.destination for flow in conntrack.flows(socket.AF_INET, protocol)}


async def test_connected_sockets_see_the_service_while_packets_bear_the_endpoints_address(world, proxy) -> None:
    (_, a, a6), *_ = world.three
    await proxy.sync({WEB: entry(a, a6)})
    for address, kind in ((VIP, socket.SOCK_STREAM), (VIP6, socket.SOCK_STREAM), (VIP, socket.SOCK_DGRAM), (VIP6, socket.SOCK_DGRAM)):
        with world.socket("p3", address, kind) as sock:
            sock.settimeout(3)
            await asyncio.to_thread(sock.connect, (address, 80))
            sock.send(b"?")
            assert (await asyncio.to_thread(sock.recv, 100)).startswith(b"p1 ")
            assert sock.getpeername()[:2] == (address, 80)
    for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        assert tracked(world, protocol) == {a}
    assert (await asyncio.to_thread(world.tcp, "world", VIP, 80)).startswith("p1 ")
    assert tracked(world, socket.IPPROTO_TCP) == {a, VIP}  # who comes from outside has no socket here


async def test_answers_to_unconnected_sockets_come_from_the_service_and_a_flow_keeps_its_endpoint(world, proxy) -> None:
    (_, a, a6), (_, b, b6), _ = world.three
    await proxy.sync({WEB: entry(a, b, a6, b6)})
    for family, address in ((socket.AF_INET, VIP), (socket.AF_INET6, VIP6), (socket.AF_INET6, f"::ffff:{VIP}")):
        with world.call("p3", lambda family=family: socket.socket(family, socket.SOCK_DGRAM)) as sock:
            sock.settimeout(3)
            heard = set()
            for _ in range(16):
                sock.sendto(b"?", (address, 80))
                data, peer = await asyncio.to_thread(sock.recvfrom, 100)
                assert peer[:2] == (address, 80)
                heard.add(data.split()[0])
            assert len(heard) == 1
            (mine,) = heard
            left = entry(b, b6) if mine == b"p1" else entry(a, a6)
            await proxy.change({WEB: left})
            assert await proxy.flush_conntrack({WEB: left}) >= 1
            sock.sendto(b"?", (address, 80))
            data, peer = await asyncio.to_thread(sock.recvfrom, 100)
            assert data.split()[0] == {b"p1": b"p2", b"p2": b"p1"}[mine] and peer[:2] == (address, 80)
            await proxy.change({WEB: entry(a, b, a6, b6)})
            await proxy.flush_conntrack({WEB: entry(a, b, a6, b6)})


async def test_a_flow_is_left_to_nftables_as_soon_as_its_service_is(world, proxy) -> None:
    (_, a, _), *_ = world.three
    await proxy.sync({WEB: entry(a)})
    with world.socket("p3", VIP, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        for more, seen in (({}, {a}), ({"affinity": 60}, {a, VIP})):
            await proxy.change({WEB: dataclasses.replace(entry(a), **more)})
            sock.sendto(b"?", (VIP, 80))
            data, peer = await asyncio.to_thread(sock.recvfrom, 100)
            assert data.startswith(b"p1 ") and peer == (VIP, 80)
            assert tracked(world, socket.IPPROTO_UDP) == seen
        await proxy.change({WEB: None})
        await proxy.flush_conntrack({WEB: None})
        sock.sendto(b"?", (VIP, 80))
        with pytest.raises(TimeoutError):
            sock.settimeout(0.3)
            await asyncio.to_thread(sock.recv, 100)


@pytest.mark.parametrize("address", [VIP, VIP6])
async def test_a_connected_socket_whose_endpoint_has_gone_is_told_and_the_others_are_not(world, proxy, address: str) -> None:
    (_, a, a6), (_, b, b6), _ = world.three
    await proxy.sync({WEB: entry(a, a6)})

    def ask(sock: socket.socket) -> bytes:
        sock.send(b"?")
        return sock.recv(100).split()[0]

    with world.socket("p3", address, socket.SOCK_DGRAM) as gone, world.socket("p3", address, socket.SOCK_DGRAM) as stays:
        stream = await asyncio.to_thread(world.connect, "p3", address, 80)
        for sock in (gone, stays):
            sock.settimeout(3)
        gone.connect((address, 80))
        assert await asyncio.to_thread(ask, gone) == b"p1"
        await proxy.change({WEB: entry(b, b6)})
        stays.connect((address, 80))
        assert await asyncio.to_thread(ask, stays) == b"p2"
        assert await proxy.flush_conntrack({WEB: entry(b, b6)}) == 1
        with pytest.raises(ConnectionAbortedError):
            await asyncio.to_thread(gone.recv, 100)
        gone.connect((address, 80))
        assert await asyncio.to_thread(ask, gone) == await asyncio.to_thread(ask, stays) == b"p2"
        assert await proxy.flush_conntrack({WEB: entry(b, b6)}) == 0
        stream.recv(100)
        stream.sendall(b"still there")
        assert await asyncio.to_thread(stream.recv, 100) == b"still there"
        stream.close()


SERVE = """
import asyncio, sys
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ProxySettings, ServiceEntry, ServicePort
from moorings_proxy.ebpf import EbpfProxy


async def main():
    proxy = EbpfProxy(ProxySettings(("10.64.0.0/16",), ("10.96.0.0/16",), netns=sys.argv[1], cgroup=sys.argv[2]))
    await proxy.sync({Key("default", "web"): ServiceEntry((ServicePort("TCP", 80, 0, (Endpoint(sys.argv[3], 8080),)),), ("10.96.0.20",))})
    print("serving", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
"""


async def test_a_killed_process_is_not_missed_and_the_next_one_takes_up_its_programs_without_a_compiler(world, make, monkeypatch) -> None:
    (_, a, _), (_, b, _), _ = world.three
    process = subprocess.Popen([sys.executable, "-c", SERVE, world.node, world.group, a], stdout=subprocess.PIPE)
    try:
        assert await asyncio.to_thread(process.stdout.readline) == b"serving\n"
        stream = await asyncio.to_thread(world.connect, "p3", VIP, 80)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert tracked(world, socket.IPPROTO_TCP) == {a}
    assert await asyncio.to_thread(world.tcp, "p3", VIP, 80) == "p1 10.64.0.4"
    monkeypatch.setattr(source, "_clang", lambda: "")
    proxy = make()
    await proxy.sync({WEB: entry(b)})
    assert await asyncio.to_thread(world.tcp, "p3", VIP, 80) == "p2 10.64.0.4"
    assert tracked(world, socket.IPPROTO_TCP) == {a, b}
    assert await proxy.verify() == 0
    stream.recv(100)
    stream.sendall(b"still there")
    assert await asyncio.to_thread(stream.recv, 100) == b"still there"
    stream.close()
    await proxy.close()


async def test_an_object_that_was_made_before_serves_without_a_compiler(world, make, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(source, "prebuilt", lambda: tmp_path / "sockets.o")
    assert source.make_object().exists()
    monkeypatch.setattr(source, "_clang", lambda: "")
    assert source.missing() == ""
    (_, a, _), *_ = world.three
    proxy = make()
    await proxy.sync({WEB: entry(a)})
    assert (await asyncio.to_thread(world.tcp, "p3", VIP, 80)).startswith("p1 ")
    assert tracked(world, socket.IPPROTO_TCP) == {a}
    await proxy.close()


async def test_another_version_of_the_programs_takes_over_from_the_one_that_is_there(world, make, monkeypatch) -> None:
    (_, a, _), (_, b, _), _ = world.three
    old = make()
    await old.sync({WEB: entry(a)})
    stream = await asyncio.to_thread(world.connect, "p3", VIP, 80)
    await old.close()
    monkeypatch.setattr(source, "digest", lambda: "another")
    new = make()
    await new.sync({WEB: entry(b)})
    assert {path.name for path in world.pins.iterdir()} == {"another"}
    assert (await asyncio.to_thread(world.tcp, "p3", VIP, 80)).startswith("p2 ")
    assert VIP not in tracked(world, socket.IPPROTO_TCP)
    stream.recv(100)
    stream.sendall(b"still there")
    assert await asyncio.to_thread(stream.recv, 100) == b"still there"
    stream.close()
    await new.close()


@pytest.mark.parametrize("what", ["frontend", "backend", "link", "everything"])
async def test_what_somebody_else_takes_away_is_brought_back(world, proxy, what: str) -> None:
    (_, a, a6), *_ = world.three
    await proxy.sync({WEB: entry(a, a6)})
    assert await proxy.verify() == 0
    maps, (directory,) = proxy._hooks.maps, world.pins.iterdir()
    match what:
        case "frontend":
            maps["frontends"].delete(list(maps["frontends"].items())[:1])
        case "backend":
            maps["backends"].delete(list(maps["backends"].items())[:2])
        case "link":
            (directory / f"link-{LINKS[0]}").unlink()
        case "everything":
            subprocess.run(["rm", "-rf", str(world.pins)], check=True)
    assert (await asyncio.to_thread(world.tcp, "p3", VIP, 80)).startswith("p1 ")  # by nftables
    assert await proxy.verify() > 0
    assert await proxy.verify() == 0
    assert (await asyncio.to_thread(world.tcp, "p3", VIP, 80)).startswith("p1 ")
    assert sum(path.name.startswith("link-") for path in world.pins.rglob("*")) == len(LINKS)


async def test_handover_leaves_nothing_and_connected_sockets_go_on(world, proxy) -> None:
    (_, a, a6), *_ = world.three
    await proxy.sync({WEB: entry(a, a6)})
    stream = await asyncio.to_thread(world.connect, "p3", VIP, 80)
    stream.recv(100)
    assert await proxy.handover()
    assert not world.pins.exists()
    stream.sendall(b"still there")
    assert await asyncio.to_thread(stream.recv, 100) == b"still there"
    stream.close()
    with pytest.raises(OSError):
        await asyncio.to_thread(world.tcp, "p3", VIP, 80, 0.4)


async def test_what_is_left_of_a_node_whose_cgroup_has_gone_is_removed(world, proxy) -> None:
    gone = bpf.cgroups() / f"{world.prefix}-gone"
    gone.mkdir()
    try:
        other = EbpfProxy(ProxySettings(netns=world.path("world"), cgroup=gone.name))
        await other.sync({})
        await other.close()
        left = world.pins.with_name(str(gone.stat().st_ino))
        await proxy.sync({})
        assert left.exists()
    finally:
        gone.rmdir()
    while left.exists():  # the kernel takes its time to let a cgroup's programs go
        await proxy.sync({})
    assert world.pins.exists()


async def test_a_machine_that_cannot_refuses_and_names_what_is_missing(world, make, monkeypatch) -> None:
    with pytest.raises(ProxyError, match=r"there is no cgroup .*/nowhere: the node's pods have to be below one of v2"):
        EbpfProxy(ProxySettings(cgroup="/nowhere"))
    monkeypatch.setattr(source, "_clang", lambda: "")
    proxy = make()
    with pytest.raises(ProxyError, match=r"neither clang .* nor a prebuilt sockets-\w+\.o"):
        await proxy.sync({WEB: entry("10.64.0.2")})
    await proxy.close()
    assert "moorings" not in world.run("node", "nft", "list ruleset")
    assert source.missing()
    monkeypatch.setattr(bpf, "cgroups", lambda: None)
    with pytest.raises(ProxyError, match="no hierarchy of cgroup v2 is mounted"):
        make()


MOUNT = """
import os, sys
from moorings_core.kernel import bpf
from pathlib import Path
bpf.mount_file_system(Path(sys.argv[1]))
print(sum(m.path == sys.argv[1] for m in bpf.mount_table()))
"""


def test_the_file_system_is_mounted_once_by_however_many_at_a_time(tmp_path) -> None:
    command = [sys.executable, "-c", MOUNT, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    try:
        assert [process.communicate(timeout=60)[0] for process in processes] == [b"1\n"] * 4
    finally:
        mounts.unmount(tmp_path)


def test_sockets_are_told_and_ended_by_their_namespace(lab) -> None:
    lab.add("alone")
    lab.add("other")
    path = lab.path("alone")
    with lab.socket("alone", "127.0.0.1", socket.SOCK_DGRAM) as sock, lab.socket("alone", "::1", socket.SOCK_DGRAM) as six:
        sock.connect(("127.0.0.1", 9))
        six.connect(("::1", 9))
        found = sock_diag.datagram_sockets(path)
        assert {(each.address, each.port) for each in found} == {("127.0.0.1", 9), ("::1", 9)}
        assert sock_diag.datagram_sockets(lab.path("other")) == [] and sock_diag.cookie_of(path) != sock_diag.cookie_of(lab.path("other"))
        assert sock_diag.destroy(lab.path("other"), found) == 0
        assert sock_diag.destroy(path, found) == 2
        assert sock_diag.destroy(path, found) == 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNABORTED
    assert Path(f"/proc/{os.getpid()}/ns/net").exists()
