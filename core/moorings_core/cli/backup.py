"""`moorings backup`: all objects of a server at one revision, and its keys, in one file; the server may go on working."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path("/var/lib/moorings/server"), show_default=True)
@click.option("--config", "config_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="the server's cluster file")
def command(file: Path, data: Path, config_file: Path | None) -> None:
    """Write all objects and keys of a server to a file that only you can read. Run it on the server, which may be running.

    Example: moorings backup /root/cluster.backup
    """
    count, revision = asyncio.run(_back_up(file, data, config_file))
    click.echo(f"{count} objects at revision {revision} in {file}")


async def _back_up(file: Path, data: Path, config_file: Path | None) -> tuple[int, int]:
    from moorings_core.config import load_file
    from moorings_core.config.backends import load
    from moorings_core.ports.store import StoreError
    from moorings_core.store import archive, choice

    if not data.is_dir():
        raise StoreError(f"there is no server's data in {data}")
    config = load_file(config_file).server.store
    chosen = choice.load(data, config)
    store = await load("store", chosen.backend)(data / chosen.directory, chosen.parameters)
    try:
        page = await store.list("")
    finally:
        await store.close()
    await asyncio.to_thread(archive.save, page, data / "pki", file)
    return len(page.records), page.revision
