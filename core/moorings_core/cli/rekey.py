"""`moorings rekey`: gives a server a new key to encrypt with. It notices by itself and writes everything again, in full service."""

from __future__ import annotations

from pathlib import Path

import click

from moorings_core.pki.keyring import add_key


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path("/var/lib/moorings/server"), show_default=True)
def command(data: Path) -> None:
    """Encrypt what is stored with a new key from now on. Run it on the server.

    The new key is put in front of DATA/pki/encryption.json. A running server writes everything again within seconds and logs
    "encrypted again"; then the older keys may be deleted from the file. Several servers on one store need the same file: add the
    new key as the second one everywhere first, then make it the first one.
    """
    click.echo(add_key(data / "pki" / "encryption.json"))
