"""`moorings restore`: the data of a server from a backup; `moorings server` then goes on where the backup ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path("/var/lib/moorings/server"), show_default=True)
@click.option("--config", "config_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="the server's cluster file")
def command(file: Path, data: Path, config_file: Path | None) -> None:
    """Make a server's data from a backup, in a directory that holds none yet, and in the store that the cluster file names.

    Example: moorings restore /root/cluster.backup
    """
    count, revision = asyncio.run(_restore(file, data, config_file))
    click.echo(f"{count} objects of revision {revision} restored to {data}")


async def _restore(file: Path, data: Path, config_file: Path | None) -> tuple[int, int]:
    from moorings_core import durable
    from moorings_core.config import load_file
    from moorings_core.config.backends import load
    from moorings_core.store import archive, choice

    with file.open("rb") as source:
        about, objects, keys = await asyncio.to_thread(archive.read, source)
    if data.exists() and any(data.iterdir()):
        raise archive.NotEmpty(f"{data} is not empty: restore into a new directory, or move what is there")
    config = load_file(config_file).server.store
    store = await load("store", config.backend)(data / choice.FIRST, config.parameters)
    try:
        await archive.restore(about, objects, store)
    finally:
        await store.close()
    (data / "pki").mkdir(mode=0o700, parents=True)
    for name, content in keys.items():
        (data / "pki" / name).parent.mkdir(mode=0o700, exist_ok=True)
        durable.write(data / "pki" / name, content)
    return len(objects), about["revision"]
