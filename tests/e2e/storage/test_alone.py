"""The driver alone, as `moorings csi`: its roles as processes of their own, and the kubelet's registration protocol."""

import contextlib
import signal
import stat
import subprocess
import sys

import grpc
import grpc.aio
import pytest

from moorings_core.kernel import loops, mounts
from moorings_core.protos import csi_pb2 as csi
from moorings_core.protos.services import CONTROLLER, IDENTITY, NODE, REGISTRATION

from .driver_process import mount_capability

MIB = 1 << 20
Service = csi.PluginCapability.Service


class Role:
    """One process of the command, and calls to its socket."""

    def __init__(self, root, role, *more):
        self.socket, self.registry = root / f"{role}.sock", root / "registry"
        where = ["--endpoint", f"unix://{self.socket}", "--pool", "image", "--root", str(root / "pool"), "--role", role]
        self.process = subprocess.Popen([sys.executable, "-m", "moorings_core.cli", "csi", *where, "--node-id", "here", *more])

    async def call(self, method, socket=None, **fields):
        service, types = next((s, m[method]) for s, m in (IDENTITY, CONTROLLER, NODE, REGISTRATION) if method in m)
        async with grpc.aio.insecure_channel(f"unix://{socket or self.socket}") as channel:
            call = channel.unary_unary(f"/{service}/{method}", types.request.SerializeToString, types.response.FromString)
            return await call(types.request(**fields), timeout=20, wait_for_ready=True)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


async def test_the_controller_and_the_node_are_processes_of_their_own_and_the_kubelet_is_told(tmp_path):
    controller, node = Role(tmp_path, "controller"), Role(tmp_path, "node", "--registration-directory", str(tmp_path / "registry"))
    try:
        services = {c.service.type for c in (await controller.call("GetPluginCapabilities")).capabilities if c.HasField("service")}
        assert Service.CONTROLLER_SERVICE in services
        services = {c.service.type for c in (await node.call("GetPluginCapabilities")).capabilities if c.HasField("service")}
        assert Service.CONTROLLER_SERVICE not in services
        assert stat.S_IMODE(node.socket.stat().st_mode) == 0o600
        told = await node.call("GetInfo", socket=node.registry / "image.csi.moorings.dev-reg.sock")
        assert (told.type, told.name, told.endpoint) == ("CSIPlugin", "image.csi.moorings.dev", str(node.socket))
        await node.call("NotifyRegistrationStatus", socket=node.registry / f"{told.name}-reg.sock", plugin_registered=True)
        capability, size = mount_capability("ext4"), csi.CapacityRange(required_bytes=64 * MIB)
        made = (await controller.call("CreateVolume", name="a", volume_capabilities=[capability], capacity_range=size)).volume
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await node.call("CreateVolume", name="b", volume_capabilities=[capability])
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        staging, target = tmp_path / "staging", tmp_path / "target"
        common = {"volume_id": made.volume_id, "staging_target_path": str(staging), "volume_capability": capability}
        await node.call("NodeStageVolume", **common)
        await node.call("NodePublishVolume", target_path=str(target), **common)
        (target / "file").write_text("x")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await controller.call("DeleteVolume", volume_id=made.volume_id)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION, "the node uses it"
        await node.call("NodeUnpublishVolume", volume_id=made.volume_id, target_path=str(target))
        await node.call("NodeUnstageVolume", volume_id=made.volume_id, staging_target_path=str(staging))
        await controller.call("DeleteVolume", volume_id=made.volume_id)
        assert (controller.stop(), node.stop()) == (0, 0)
        assert list((tmp_path / "pool" / "volumes").iterdir()) == []
    finally:
        for role in (controller, node):
            role.process.kill()
            role.process.wait()
        for path in (tmp_path / "target", tmp_path / "staging"):
            mounts.unmount_all(path)
        for file in (tmp_path / "pool" / "volumes").glob("*"):
            with contextlib.suppress(OSError):
                loops.detach(loops.identity(file))


def test_a_pool_that_the_machine_cannot_hold_is_refused_with_what_to_do(tmp_path):
    command = [sys.executable, "-m", "moorings_core.cli", "csi", "--pool", "btrfs", "--root", str(tmp_path / "pool")]
    done = subprocess.run([*command, "--endpoint", f"unix://{tmp_path}/a.sock"], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert "the pool needs btrfs" in done.stderr
    assert "poolSize" in done.stderr
    done = subprocess.run([*command, "--endpoint", "tcp://1.2.3.4:1"], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert "unix://" in done.stderr
