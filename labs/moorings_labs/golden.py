"""What every new node starts with: containerd's own directory with the base images in it, made once a machine and copied.

Importing images is what making nodes costs most (an archive read, unpacked and fsynced on each node); a copy is a matter of 20 ms.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from moorings_core.ports.errors import MooringsError

from . import images, layout
from .images import PAUSE

START_SECONDS = 30.0
CONTAINERD = """version = 2
root = "{root}"
state = "{run}/c"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp"{disabled}]
[grpc]
  address = "{run}/containerd.sock"
[ttrpc]
  address = ""
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  enable_selinux = false
  ignore_image_defined_volumes = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{registries}:/etc/containerd/certs.d"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{agent}/cni/bin"
    conf_dir = "{agent}/cni/conf.d"
    max_conf_num = 1
"""


class GoldenError(MooringsError):
    """The base images cannot be prepared; the text ends with containerd's last words."""


def configuration(root: Path, run: Path, agent: Path, registries: Path) -> str:
    """Return containerd's configuration for a node: its directory, its sockets' directory, the agent's, and that of its registries.

    registries holds a directory for each registry, with the hosts.toml that says where its images come from; what it does not say, the
    machine's own /etc/containerd/certs.d does. Source: containerd's docs/hosts.md.
    """
    return CONTAINERD.format(root=root, run=run, agent=agent, registries=registries, pause=PAUSE, disabled="")


def directory() -> Path:
    """Return containerd's directory with the base images, making it when this machine has none. Raises GoldenError, ImageError."""
    path = layout.root().parent / "golden" / _key()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="making-") as temporary:
            archive = Path(temporary) / "images.tar"
            images.busybox_archive(archive)
            _build(Path(temporary) / "containerd", Path(temporary), archive)
            try:
                (Path(temporary) / "containerd").rename(path)
            except OSError:
                if not path.exists():  # another `up` may have made it meanwhile
                    raise
    return path


def copy(source: Path, target: Path) -> None:
    """Copy containerd's directory to a new node; one that is there is left alone."""
    if target.exists():
        return
    temporary = target.with_suffix(".copying")
    shutil.rmtree(temporary, ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(temporary)], check=True, timeout=60)
    temporary.rename(target)


def _key() -> str:
    """Name what the directory depends on: containerd, busybox, and how images are written."""
    try:
        version = subprocess.run(["containerd", "--version"], capture_output=True, check=True, timeout=10).stdout
    except FileNotFoundError:
        raise GoldenError("containerd is missing: `make setup`, or apt-get install containerd") from None
    parts = (version, images.fingerprint(), CONTAINERD.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _build(root: Path, work: Path, archive: Path) -> None:
    """Start containerd in a mount namespace of its own, import the archive, stop it."""
    run = Path(tempfile.mkdtemp(prefix="moorings-"))
    text = CONTAINERD.format(root=root, run=run, agent=work, registries=work, pause=PAUSE, disabled=', "io.containerd.grpc.v1.cri"')
    (work / "containerd.toml").write_text(text)
    log = work / "containerd.log"
    with log.open("wb") as output:
        command = ["unshare", "--mount", "--propagation", "private", "containerd", "--config", str(work / "containerd.toml")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        socket = run / "containerd.sock"
        _await_socket(socket, process, log)
        command = ["ctr", "--address", str(socket), "--namespace", "k8s.io", "images", "import", str(archive)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise GoldenError(f"importing the base images failed: {done.stderr.strip()}")
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)
        shutil.rmtree(run, ignore_errors=True)


def _await_socket(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > end:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise GoldenError(f"containerd does not start; its last lines:\n{last}")
        time.sleep(0.01)
