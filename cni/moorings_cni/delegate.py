"""Other plugins' IPAM under ours: the delegate is executed with the whole configuration and the same environment.

Source: containernetworking/cni SPEC.md, section 4. The name may be any that CNI_PATH has, but no path.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Any

from .errors import FAILED, INVALID_CONFIG, IO_FAILURE, CniError

PATIENCE = 60.0


async def call(verb: str, config: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Do a verb with the IPAM plugin that the configuration names; return its result. Raises CniError: also the plugin's own."""
    name = str(config["ipam"]["type"])
    path = _find(name, environment.get("CNI_PATH", ""))
    variables = {**environment, "CNI_COMMAND": verb, "PATH": os.environ.get("PATH", os.defpath)}
    try:
        process = await asyncio.create_subprocess_exec(
            path, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=variables
        )
    except OSError as error:
        raise CniError(IO_FAILURE, f"IPAM plugin {path}: {error}") from None
    try:
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate(json.dumps(config).encode())
    except TimeoutError:
        process.kill()
        raise CniError(FAILED, f"IPAM plugin {name} has not answered {verb} for {PATIENCE:.0f} s") from None
    return _answer(name, verb, process.returncode or 0, out)


def addresses(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the addresses of an IPAM result, IPv4 first. Raises CniError."""
    try:
        found = sorted((str(ip_interface(ip["address"]).ip) for ip in result.get("ips") or []), key=lambda a: ":" in a)
    except (KeyError, TypeError, ValueError) as error:
        raise CniError(FAILED, f"the IPAM plugin's result: {error!r}") from None
    if not found:
        raise CniError(FAILED, "the IPAM plugin gave no address")
    return tuple(found)


def _find(name: str, directories: str) -> str:
    if "/" in name or name in (".", ".."):
        raise CniError(INVALID_CONFIG, f"ipam.type: {name!r} is a name, not a path")
    for directory in directories.split(os.pathsep):
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise CniError(IO_FAILURE, f"ipam.type: no plugin {name} in CNI_PATH {directories!r}")


def _answer(name: str, verb: str, code: int, out: bytes) -> dict[str, Any]:
    try:
        found = json.loads(out) if out.strip() else {}
    except ValueError:
        found = {}
    if code == 0 and isinstance(found, dict):
        return found
    words = found if isinstance(found, dict) else {}
    number = words.get("code") if isinstance(words.get("code"), int) else FAILED
    raise CniError(
        number or FAILED, f"IPAM plugin {name}, {verb}: {words.get('msg') or f'exit code {code}'}", str(words.get("details", ""))
    )
