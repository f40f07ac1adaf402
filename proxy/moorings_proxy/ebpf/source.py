"""The programs' source, and the object that clang makes of it: at the first start on a node, or before it, by `make_object`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
from functools import cache
from pathlib import Path

from moorings_core.kernel import bpf
from moorings_core.ports.proxy import ProxyError

SOURCE = Path(__file__).with_name("sockets.c")
CLANGS = ("clang", "clang-19", "clang-16", "clang-14")
SECONDS = 60.0


@cache
def digest() -> str:
    """Return what names this version of the programs: pins of another one are not used."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]


def prebuilt() -> Path:
    """Return where an object of this version lies if there is one, for machines without clang."""
    return SOURCE.with_name(f"sockets-{digest()}.o")


def build() -> bytes:
    """Return the object file. Blocking. Raises ProxyError."""
    if prebuilt().exists():
        return prebuilt().read_bytes()
    if not (clang := _clang()):
        raise ProxyError(lacking_clang())
    include = Path("/usr/include") / (sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu")
    command = [clang, "-O2", "-g", "-Wall", "-target", "bpf", f"-I{include}", "-c", str(SOURCE), "-o", "-"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProxyError(f"{clang} does not work: {error}") from error
    if done.returncode:
        raise ProxyError(f"{clang} does not compile {SOURCE.name}: {' '.join(done.stderr.decode(errors='replace').split())[:500]}")
    return done.stdout


def make_object() -> Path:
    """Compile now, for a machine that has no clang later; return the file. Raises ProxyError, OSError."""
    prebuilt().write_bytes(build())
    return prebuilt()


def missing() -> str:
    """Return what this machine lacks for the backend, "" when nothing."""
    return bpf.missing() or ("" if prebuilt().exists() or _clang() else lacking_clang())


def lacking_clang() -> str:
    """Return the sentence that says so."""
    return f"there is neither clang (Debian: apt-get install clang) nor a prebuilt {prebuilt().name}"


def _clang() -> str:
    return next((found for name in CLANGS if (found := shutil.which(name))), "")
