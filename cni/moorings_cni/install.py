"""Puts the plugin where the runtime looks: executables and the configuration list, each written whole or not at all.

The list comes last and only when the server can serve, since its presence is what makes the runtime report NetworkReady.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

CONFIG_NAME = "10-moorings.conflist"
CAPABILITIES = ("portMappings", "bandwidth", "ipRanges", "dns", "ips", "mac")
PLUGIN, IPAM, LOOPBACK = "moorings-cni", "moorings-ipam", "loopback"


def executables(directory: Path, socket: Path, spool: Path) -> None:
    """Install the client under its own name, as an IPAM plugin and, for containerd, as `loopback`. Raises OSError."""
    spool.mkdir(parents=True, exist_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    text = script(socket, spool)
    for name in (PLUGIN, IPAM, LOOPBACK):
        write(directory / name, text, 0o755)


def configuration(directory: Path) -> None:
    """Install the configuration list. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    write(directory / CONFIG_NAME, conflist(), 0o644)


def remove_configuration(directory: Path) -> None:
    """Take the list away: the runtime reports NetworkReady false from then on."""
    (directory / CONFIG_NAME).unlink(missing_ok=True)


def conflist() -> str:
    """Return the configuration list. cniVersions is for runtimes of CNI 1.1; older ones do not know it and take cniVersion."""
    plugin = {"type": PLUGIN, "capabilities": dict.fromkeys(CAPABILITIES, True)}
    body = {"cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.0.0", "1.1.0"], "name": "moorings", "plugins": [plugin]}
    return json.dumps(body, indent=2) + "\n"


def script(socket: Path, spool: Path, perl: str | None = None) -> str:
    """Return the client with its shebang: in Perl where there is one, else in Python. perl: its path, "" for none."""
    perl = found_perl() if perl is None else perl
    text = (Path(__file__).parent / ("client.pl" if perl else "client.py")).read_text()
    # What is for readers is left out: it is parsed at every start.
    text = re.sub(r"^#.*\n" if perl else r'^ *"""(?s:.*?)"""\n', "", text, flags=re.MULTILINE)
    quote = "'" if perl else '"'
    text = text.replace("@SOCKET@", _literal(socket, quote)).replace("@SPOOL@", _literal(spool, quote))
    return f"#!{perl or f'{interpreter()} -IS'}\n{text}"


def found_perl() -> str:
    """Return a Perl's path, which Debian's essential packages have; "" without."""
    return next((path for path in ("/usr/bin/perl", "/bin/perl") if os.access(path, os.X_OK)), "")


def interpreter() -> str:
    """Return a real Python 3.9 or later, absolute: the system's, which starts fastest, or the one that runs this.

    Never a shim such as pyenv's: it costs 140 ms a call.
    """
    for minor in range(20, 8, -1):
        found = f"/usr/bin/python3.{minor}"
        if os.access(found, os.X_OK):
            return os.path.realpath(found)
    return os.path.realpath(sys.executable)


def write(path: Path, text: str, mode: int) -> None:
    """Replace a file in one step unless it has that text already."""
    if path.is_file() and path.read_text() == text and path.stat().st_mode & 0o777 == mode:
        return
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(mode)
    new.replace(path)


def _literal(path: Path, quote: str) -> str:
    return str(path.absolute()).replace("\\", "\\\\").replace(quote, f"\\{quote}")
