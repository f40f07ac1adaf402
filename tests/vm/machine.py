"""Boots the machine and runs one command in it.

The kernel and its modules are those of Debian's package, unpacked by `labs/setup.sh tests` into build/vm/kernel. The root file system
is this machine's own, read-only through virtiofs, with a layer of memory over it: nothing has to be packed, and nothing comes back
but the console's output and the exit code.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "build" / "vm" / "kernel"
VIRTIOFSD = Path("/usr/lib/qemu/virtiofsd")
EARLY = ("virtio_pci", "virtiofs", "overlay")
"""Modules without which there is no root file system."""
MARK = "machine ends with "
SOCKET_SECONDS = 20.0
INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules); do insmod "$module" || echo "no module $module"; done
mount -t virtiofs -o ro host /low
mount -t tmpfs memory /up
mkdir -p /up/files /up/work
mount -t overlay -o lowerdir=/low,upperdir=/up/files,workdir=/up/work root /root
for place in proc sys dev; do mount --bind "/$place" "/root/$place"; done
mount -t tmpfs run /root/run
mkdir /repository
mount --bind "/rootREPOSITORY" /repository
mount -t tmpfs tmp /root/tmp
mkdir -p "/rootREPOSITORY"
mount --bind /repository "/rootREPOSITORY"
mkdir -p /root/run/netns /root/lib/modules
ln -sfn "KERNEL/lib/modules/VERSION" /root/lib/modules/VERSION
ip link set lo up
ln -sfn /bin/busybox /root/sbin/modprobe
chroot /root /bin/sh /command
echo "MARK$?"
poweroff -f
"""


class MachineError(Exception):
    """The machine could not be booted, or did not come to its end; the text has the last lines of its console."""


def version() -> str:
    """Return the version of the kernel that set-up has brought. Raises MachineError."""
    found = sorted((KERNEL / "lib" / "modules").glob("*")) if KERNEL.is_dir() else []
    if not found:
        raise MachineError(f"no kernel in {KERNEL}: labs/setup.sh tests brings it")
    return found[-1].name


def run(command: Sequence[str], *, seconds: float, memory: int = 1024) -> int:
    """Run a command in the machine, as root in this repository, its output on stdout; return its exit code. Raises MachineError."""
    with tempfile.TemporaryDirectory(prefix="machine") as scratch, _file_server(Path(scratch)) as socket:
        initramfs = _initramfs(Path(scratch), command)
        return _boot(initramfs, socket, memory, seconds)


@contextlib.contextmanager
def _file_server(scratch: Path) -> Iterator[Path]:
    socket = scratch / "files.sock"
    arguments = [f"--socket-path={socket}", "-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot"]
    with (scratch / "files.log").open("wb") as log:
        server = subprocess.Popen([str(VIRTIOFSD), *arguments], stdout=log, stderr=log)
    try:
        end = time.monotonic() + SOCKET_SECONDS
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > end:
                raise MachineError(f"no file server: {(scratch / 'files.log').read_text()}")
            time.sleep(0.02)
        yield socket
    finally:
        server.terminate()
        server.wait(timeout=20)


def _boot(initramfs: Path, socket: Path, memory: int, seconds: float) -> int:
    kernel = next((KERNEL / "boot").glob("vmlinuz-*"))
    arguments = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(memory), "-nodefaults", "-no-reboot",
        "-display", "none", "-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initramfs),
        "-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on",
        "-object", f"memory-backend-memfd,id=memory,size={memory}M,share=on", "-numa", "node,memdev=memory",
        "-chardev", f"socket,id=files,path={socket}", "-device", "vhost-user-fs-pci,chardev=files,tag=host",
    ]  # fmt: skip
    lines: list[str] = []
    machine = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
    watchdog = subprocess.Popen([sys.executable, "-c", f"import time, os, signal; time.sleep({seconds}); os.kill({machine.pid}, 9)"])
    try:
        assert machine.stdout
        for line in machine.stdout:
            lines.append(line.rstrip())
            if lines[-1].startswith(MARK):
                return int(lines[-1].removeprefix(MARK))
            print(lines[-1], flush=True)
    finally:
        for process in (watchdog, machine):
            process.kill()
            process.wait(timeout=30)
    raise MachineError("the machine did not end:\n" + "\n".join(lines[-30:]))


def _initramfs(scratch: Path, command: Sequence[str]) -> Path:
    tree = scratch / "tree"
    for name in ("bin", "sbin", "proc", "sys", "dev", "low", "up", "root"):
        (tree / name).mkdir(parents=True)
    (tree / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (tree / "bin" / "busybox").chmod(0o755)
    modules = _with_dependencies(EARLY)
    for module in modules:
        (tree / module.name).write_bytes(module.read_bytes())
    (tree / "modules").write_text(" ".join(f"/{m.name}" for m in modules))
    words = {"KERNEL": str(KERNEL), "VERSION": version(), "MARK": MARK, "/command": _script(command), "REPOSITORY": str(ROOT)}
    text = functools.reduce(lambda done, word: done.replace(word, words[word]), words, INIT)
    (tree / "init").write_text(text)
    (tree / "init").chmod(0o755)
    helper = tree / "sbin" / "modprobe"  # the kernel asks for modules here, in the first root
    helper.write_text('#!/bin/busybox sh\nexec /bin/busybox chroot /root /bin/busybox modprobe "$@"\n')
    helper.chmod(0o755)
    names = "\n".join(str(p.relative_to(tree)) for p in sorted(tree.rglob("*")))
    target = scratch / "initramfs"
    with target.open("wb") as out:
        subprocess.run(
            ["busybox", "cpio", "-o", "-H", "newc"], cwd=tree, input=names.encode(), stdout=out, stderr=subprocess.DEVNULL, check=True
        )
    return target


def _script(command: Sequence[str]) -> str:
    """Return shell words that run the command in the repository."""
    environment = f"PATH={os.environ['PATH']}:/usr/sbin:/sbin HOME=/root PYTHONDONTWRITEBYTECODE=1"
    return "-c " + shlex.quote(f"cd {ROOT} && exec env -i {environment} {shlex.join(command)}")


def _with_dependencies(names: Sequence[str]) -> list[Path]:
    """Return module files in the order in which they can be loaded."""
    folder = KERNEL / "lib" / "modules" / version()
    table = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        table[Path(path).name.split(".ko")[0].replace("-", "_")] = [path, *needed.split()]
    found: dict[str, Path] = {}

    def load(name: str) -> None:
        path, *needed = table[name]
        for other in needed:
            load(Path(other).name.split(".ko")[0].replace("-", "_"))
        found.setdefault(path, folder / path)

    for name in names:
        if name in table:  # else it is built in
            load(name)
    return list(found.values())
