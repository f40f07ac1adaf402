"""`moorings csi`: the driver alone, under upstream's kubelet and sidecars or under nothing at all."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import cast

import click

PATH = click.Path(path_type=Path)


@click.command(name="csi")
@click.option("--endpoint", required=True, metavar="unix://PATH", help="the socket that the driver serves on")
@click.option("--pool", type=click.Choice(["image", "btrfs", "hostpath"]), required=True)
@click.option("--root", type=PATH, required=True, help="directory of the volumes and of the journal")
@click.option("--role", type=click.Choice(["controller", "node", "both"]), default="both", show_default=True)
@click.option("--node-id", default=socket.gethostname, show_default="the host's name")
@click.option("--registration-directory", type=PATH, help="the kubelet's plugins_registry; default: nobody is told")
@click.option("--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="see csi/README.md")
@click.option("--log-level", default="INFO", show_default=True)
def csi(
    endpoint: str,
    pool: str,
    root: Path,
    role: str,
    node_id: str,
    registration_directory: Path | None,
    parameters: tuple[str, ...],
    log_level: str,
) -> None:
    """Serve volumes by CSI on a unix socket, until SIGTERM."""
    from moorings_core.log import setup_logging

    from .driver import Driver, DriverOptions
    from .ledger import Role

    scheme, _, path = endpoint.partition("://")
    if scheme != "unix" or not path.startswith("/"):
        raise click.UsageError(f"--endpoint {endpoint}: write unix:// and an absolute path")
    given = dict(_pair(p) for p in parameters)
    setup_logging(log_level)
    options = DriverOptions(pool, node_id, root.absolute(), Path(path), registration_directory, cast("Role", role), given)
    asyncio.run(_until_stopped(Driver(options).run()))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--parameter {text}: write NAME=VALUE")
    return name, value


async def _until_stopped(work: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass
