"""The images that upstream's specs ask for, made here: upstream's own programs over busybox, under the names that the suite uses.

containerd has them under these names, and most specs pull only what is missing; what some pull Always is in a registry beside the lab.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from moorings_core.pki.authority import Authority
from moorings_labs import images
from moorings_labs.images import Image

UPSTREAM = Path(__file__).parents[2] / "build" / "upstream"
PROGRAMS = ("e2e.test", "agnhost", "ginkgo", "etcd", "sample-apiserver")
"""What labs/upstream.sh builds for a run"""
REGISTRY = "registry.k8s.io"
TESTS = f"{REGISTRY}/e2e-test-images"
AGNHOST = f"{TESTS}/agnhost:2.66.1"
PULLED = (AGNHOST,)
"""What specs pull Always"""
HTML = "usr/share/nginx/html"
NGINX = f"#!/bin/sh\nexec /bin/busybox httpd -f -p 80 -h /{HTML}\n"


TOOLS = ("curl", "nc", "dig", "getent", "dd")
"""What the specs run in agnhost, beside what busybox has or with flags that its has not: Debian's, as this machine has them."""


def write(directory: Path) -> Iterator[Path]:
    """Write the archives of all images into a directory, one after another. Raises ImageError, OSError."""
    for number, image in enumerate(wanted(directory)):
        archive = directory / f"image-{number}.tar"
        images.write_archive(archive, image)
        yield archive


def wanted(directory: Path) -> list[Image]:
    """Return the images; small files that they hold are written into a directory."""
    certificate, key = Authority.create("agnhost").issue("localhost", hosts=("localhost",)).write(directory, "localhost")
    agnhost = {"agnhost": UPSTREAM / "agnhost", "agnhost-2": UPSTREAM / "agnhost"} | tools()
    agnhost |= {"localhost.crt": certificate, "localhost.key": key}
    picture = {"data.json": _file(directory, "data.json", json.dumps({"image": "nautilus.jpg"}))}
    nginx = {
        "usr/sbin/nginx": _file(directory, "nginx", NGINX),
        f"{HTML}/index.html": _file(directory, "index.html", "<h1>It works</h1>\n"),
    }
    return [
        Image((AGNHOST, f"{TESTS}/agnhost:2.55"), ("pause",), ("/agnhost",), agnhost),
        Image((f"{TESTS}/glibc-dns-testing:2.1.1",), files=tools()),
        Image((f"{TESTS}/busybox:1.37.0-2", f"{TESTS}/busybox:1.36.1-1", f"{REGISTRY}/pause:3.10.2")),
        Image((f"{TESTS}/nginx:1.28.0-2", f"{TESTS}/nginx:1.27.0-2"), ("/usr/sbin/nginx",), (), nginx),
        Image((f"{TESTS}/nautilus:1.8",), ("test-webserver",), ("/agnhost",), {**agnhost, **picture}),
        Image((f"{TESTS}/sample-apiserver:1.29.2",), (), ("/sample-apiserver",), {"sample-apiserver": UPSTREAM / "sample-apiserver"}),
        Image((f"{REGISTRY}/etcd:3.7.0-0",), ("/usr/local/bin/etcd",), (), {"usr/local/bin/etcd": UPSTREAM / "etcd"}),
    ]


def tools() -> dict[str, Path]:
    """Return the tools with the libraries that they are linked to, by where they go. Raises FileNotFoundError.

    Their shell is dash: busybox's own would take busybox's tools, whatever PATH says.
    """
    found = {"bin/sh": _program("dash")} | {f"usr/bin/{name}": _program(name) for name in TOOLS}
    for program in list(found.values()):
        linked = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
        found |= {path.lstrip("/"): Path(path) for path in re.findall(r"(/\S+) \(0x", linked)}
    return found


def _program(name: str) -> Path:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"no {name} on this machine: labs/setup.sh tests brings it")
    return Path(path).resolve()


def _file(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    return path
