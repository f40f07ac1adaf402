"""`moorings credentials`: makes what a node needs to join, on the machine that holds the authority."""

from __future__ import annotations

from pathlib import Path

import click

from moorings_core.config import load_text
from moorings_core.pki.authority import Authority
from moorings_core.pki.credentials import NodeCredentials
from moorings_core.ports.errors import MooringsError


class NoAuthority(MooringsError):
    """This machine does not hold the cluster's authority."""


@click.command()
@click.argument("node")
@click.option("--address", "addresses", multiple=True, required=True, help="the node's address; may be given again")
@click.option("--server", "host", required=True, help="the address at which nodes reach the server")
@click.option("--config", "config_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="the cluster file")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path("/var/lib/moorings/server"), show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="the directory to write; copy it to the node")
def command(node: str, addresses: tuple[str, ...], host: str, config_file: Path | None, data: Path, out: Path) -> None:
    """Make the credentials of a node, to be copied to it. Run it on the server.

    Example: moorings credentials node-1 --address 192.0.2.11 --server 192.0.2.10 --out node-1
    """
    if not (data / "pki" / "ca.key").exists():
        raise NoAuthority(f"{data}/pki/ca.key is not there: run this where `moorings server` has run, or name its --data")
    config = load_text(config_file.read_text() if config_file else "", str(config_file or "cluster.yaml"))
    authority = Authority.load_or_create(data / "pki", config.name)
    NodeCredentials(out).issue(authority, config.name, f"https://{host}:{config.server.port}", node, addresses)
    click.echo(str(out))
