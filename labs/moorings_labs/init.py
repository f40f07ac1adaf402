"""PID 1 of a lab node: private mounts, then the node's programs, restarted when they die; orphans reaped.

Runs as `python3 -I -S init.py CONFIG` in fresh namespaces and imports only what costs little memory: it stays for ever.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself would cost every node half a megabyte
    from typing import Any

RESTART_FIRST, RESTART_MOST = 0.1, 5.0
STABLE_SECONDS = 10.0
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 4096, 16384, 1 << 18, 1 << 20
STOP_SECONDS = 10.0


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Call mount(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), target)


def prepare(config: dict[str, Any]) -> None:
    """Make the node's own view: nothing leaks to the machine, and mounts inside can be shared with pods."""
    ctypes.CDLL(None).sethostname(config["hostname"].encode(), len(config["hostname"]))
    mount("", "/", "", MS_REC | MS_PRIVATE)
    mount("", "/", "", MS_REC | MS_SHARED)
    mount("proc", "/proc", "proc", 0)
    for path in config["tmpfs"]:
        os.makedirs(path, exist_ok=True)
        mount("tmpfs", path, "tmpfs", 0, "mode=0755")
    try:
        mount("bpf", "/sys/fs/bpf", "bpf", 0)  # what the node keeps there ends with it
    except OSError:
        pass  # a kernel without it has nobody who asks for it
    for source, target in config["binds"]:
        os.makedirs(target, exist_ok=True)
        mount(source, target, "", MS_BIND)
    for path, value in config["sysctls"].items():
        with open(path, "w") as file:
            file.write(value)


class Child:
    """One program of the node."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name, self.command, self.log = spec["name"], spec["command"], spec["log"]
        self.environment = dict(os.environ, **spec.get("environment", {}))
        self.pid, self.started, self.delay, self.due = 0, 0.0, RESTART_FIRST, 0.0

    def start(self) -> None:
        """Start the program with its output going to its log."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        self.pid = os.posix_spawnp(self.command[0], self.command, self.environment, file_actions=actions)
        os.close(log)
        self.started = time.monotonic()

    def ended(self, status: int) -> None:
        """Say how it ended and plan the next start."""
        lived = time.monotonic() - self.started
        code = os.waitstatus_to_exitcode(status)
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self.name} ended after {lived:.1f} s: {how}\n")
        self.delay = RESTART_FIRST if lived > STABLE_SECONDS else min(self.delay * 2, RESTART_MOST)
        self.pid, self.due = 0, time.monotonic() + self.delay


def main() -> None:
    """Prepare the node and keep its programs running until SIGTERM."""
    with open(sys.argv[1]) as file:
        config = json.load(file)
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    prepare(config)
    children = [Child(spec) for spec in config["children"]]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ())
    stopping = False
    while not stopping:
        now = time.monotonic()
        for child in children:
            if not child.pid and child.due <= now:
                child.start()
        waits = [child.due - now for child in children if not child.pid]
        received = signal.sigtimedwait(signals, max(min(waits, default=60.0), 0.01))
        reap(children)
        stopping = received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT)
    for child in children:
        if child.pid:
            os.kill(child.pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while any(child.pid for child in children) and time.monotonic() < end:
        signal.sigtimedwait({signal.SIGCHLD}, 0.2)
        reap(children)


def reap(children: list[Child]) -> None:
    """Take the exit codes of whatever has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        for child in children:
            if child.pid == pid:
                child.ended(status)


if __name__ == "__main__":
    main()
