"""The verbs of the pod network: `moorings policy trace`. Only click is imported until one runs."""

from __future__ import annotations

from pathlib import Path

import click

KUBECONFIG = click.option(
    "--kubeconfig", type=click.Path(path_type=Path), envvar="KUBECONFIG", default=Path("~/.kube/config"), show_default=True
)


@click.group()
def policy() -> None:
    """Say what NetworkPolicies do to a connection."""


@policy.command()
@click.argument("source")
@click.argument("target")
@click.argument("port")
@click.option("-n", "--namespace", default="default", show_default=True, help="of pods that are named without one")
@click.option("--protocol", type=click.Choice(["TCP", "UDP", "SCTP"], case_sensitive=False), default="TCP", show_default=True)
@KUBECONFIG
def trace(source: str, target: str, port: str, namespace: str, protocol: str, kubeconfig: Path) -> None:
    """Say which policy allows or denies SOURCE to reach PORT of TARGET, and what its node has counted.

    SOURCE and TARGET are pods (NAMESPACE/NAME or NAME) or addresses; PORT is the pod's own, as a number or a name.
    Exit code 0: allowed, 1: denied.

    Example: moorings policy trace web/front db/postgres 5432
    """
    import asyncio

    from .policy.trace import run

    lines, allowed = asyncio.run(run(kubeconfig.expanduser(), source, target, port, namespace, protocol.upper()))
    click.echo("\n".join(lines))
    raise SystemExit(0 if allowed else 1)
