"""The image that csi/deploy/ asks for, without a registry: what pip installs, and this machine's Python and mkfs, over busybox."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from moorings_labs.images import Image

REPOSITORY = Path(__file__).parents[3]
PROGRAMS = ("mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "e2fsck", "resize2fs")
UNUSED = {
    "test",
    "tests",
    "__pycache__",
    "idlelib",
    "tkinter",
    "ensurepip",
    "lib2to3",
    "pydoc_data",
    "turtledemo",
    "site-packages",
    "dist-packages",
}
OTHERS = ("numpy", "scapy", "pyroute2", "pygments", "rich", "aetcd", "cel_expr_python", "re2", "cryptography", "moorings_labs")
"""What other parts of the distribution need and the driver does not; it would come to 130 MB"""
SITE = "opt/moorings"


def image(name: str, directory: Path) -> Image:
    """Return the image; files that are made for it are written into a directory. Raises CalledProcessError."""
    site, script = directory / "site", directory / "moorings"
    uv = shutil.which("uv") or str(REPOSITORY / "build" / "uv" / "bin" / "uv")
    command = [uv, "pip", "install", "-q", "--python", sys.executable, "--target", str(site), str(REPOSITORY)]
    subprocess.run(command, check=True, timeout=300)
    library = Path(sysconfig.get_path("stdlib"))
    python = Path(sys.executable).resolve()
    script.write_text(f'#!/bin/sh\nexport PYTHONPATH=/{SITE} PYTHONDONTWRITEBYTECODE=1\nexec {python} -m moorings_core.cli "$@"\n')
    files = {path.as_posix().lstrip("/"): path for path in _below(library)}
    files |= {
        f"{SITE}/{path.relative_to(site)}": path for path in _below(site) if path.relative_to(site).parts[0].split("-")[0] not in OTHERS
    }
    programs = [Path(found).resolve() for found in map(shutil.which, PROGRAMS) if found]
    shared = [path for path in files.values() if ".so" in path.name]
    files |= {path.lstrip("/"): Path(path) for path in _libraries([python, *programs, *shared])}
    files |= {f"sbin/{name}": Path(found) for name in PROGRAMS if (found := shutil.which(name))}
    files |= {python.as_posix().lstrip("/"): python, "usr/local/bin/moorings": script}
    return Image((name,), ("--help",), ("/usr/local/bin/moorings",), files)


def _below(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.is_file() and not UNUSED & set(path.relative_to(root).parts):
            yield path


def _libraries(programs: Iterable[Path]) -> set[str]:
    """Return the paths of what programs and modules are linked with, as the loader asks for them."""
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False, timeout=60).stdout
    return {path for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told, re.MULTILINE) if "/site/" not in path}
