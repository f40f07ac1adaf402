"""Upstream's csi-sanity, with every specification that the driver's capabilities turn on, on every pool."""

import asyncio
import os
import re
import shutil
import subprocess

import pytest

from .driver_process import DriverProcess

MIB = 1 << 20
SIZES = {"image": 64 * MIB, "image-xfs": 320 * MIB, "btrfs": 64 * MIB, "hostpath": 64 * MIB}
MUTABLE = {"image": "readAheadKiB: '512'\n", "image-xfs": "readAheadKiB: '512'\n", "btrfs": "compression: zstd\n", "hostpath": ""}
FULL = {
    "CREATE_DELETE_VOLUME",
    "PUBLISH_UNPUBLISH_VOLUME",
    "LIST_VOLUMES",
    "GET_CAPACITY",
    "CREATE_DELETE_SNAPSHOT",
    "LIST_SNAPSHOTS",
    "CLONE_VOLUME",
    "EXPAND_VOLUME",
    "MODIFY_VOLUME",
}
ATTACH_LIMIT = 4


@pytest.fixture
async def sanity_driver(tmp_path, request):
    driver = DriverProcess(tmp_path, request.param)
    driver.more = ["--parameter", f"attachLimit={ATTACH_LIMIT}"]
    yield driver
    await driver.close()


def program() -> str:
    found = shutil.which("csi-sanity")
    if found is None:
        assert not os.environ.get("CI"), "csi-sanity is missing: labs/setup.sh tests brings it"
        pytest.skip("csi-sanity is not on PATH: labs/setup.sh tests brings it")
    return found


async def capabilities(driver) -> set[str]:
    answer = await driver.call("ControllerGetCapabilities")
    return {type(c.rpc).Type.Name(c.rpc.type) for c in answer.capabilities}


@pytest.mark.parametrize("access", ["mount", "block"])
@pytest.mark.parametrize("sanity_driver", ["image", "image-xfs", "btrfs", "hostpath"], indirect=True)
async def test_csi_sanity_passes_whole(sanity_driver, access):
    driver = sanity_driver
    if access == "block" and driver.pool == "hostpath":
        pytest.skip("directories are no block devices, and the driver says so")
    await driver.start()
    offered = await capabilities(driver)
    if driver.pool in ("image-xfs", "btrfs"):
        assert offered >= FULL
    mutable = driver.root / "mutable.yaml"
    mutable.write_text(MUTABLE[driver.pool])
    size = SIZES[driver.pool]
    command = [program(), "-csi.endpoint", f"unix://{driver.socket}", "-csi.testvolumeaccesstype", access]
    command += ["-csi.testvolumesize", str(size), "-csi.testvolumeexpandsize", str(size + 64 * MIB), "-ginkgo.no-color"]
    command += [
        "-csi.mountdir",
        str(driver.root / "mount"),
        "-csi.stagingdir",
        str(driver.root / "staging"),
        "-csi.testnodevolumeattachlimit",
    ]
    command += ["-csi.testvolumemutableparameters", str(mutable)] if MUTABLE[driver.pool] else []
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    passed, skipped = (int(re.search(rf"(\d+) {word}", done.stdout)[1]) for word in ("Passed", "Skipped"))
    print(f"csi-sanity {driver.pool} {access}: {passed} passed, {skipped} skipped")
    assert driver.leftovers() == []
    assert driver.stored() == []
