"""`moorings agent`: runs a node's pods."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from moorings_core.agent.main import AgentOptions, run_agent
from moorings_core.log import setup_logging

PATH = click.Path(path_type=Path)


@click.command()
@click.option("--kubeconfig", type=PATH, required=True, help="how to reach the API, with the node's own certificate")
@click.option("--node-name", required=True)
@click.option("--root", type=PATH, default=Path("/var/lib/moorings/agent"), show_default=True, help="what outlives a reboot")
@click.option("--run", "run_directory", type=PATH, default=Path("/run/moorings"), show_default=True, help="sockets")
@click.option("--containerd-socket", type=PATH, default=Path("/run/containerd/containerd.sock"), show_default=True)
@click.option("--tls-cert", type=PATH, required=True, help="the certificate that the API server sees")
@click.option("--tls-key", type=PATH, required=True)
@click.option("--client-ca", type=PATH, required=True, help="who signs the API server's client certificate")
@click.option("--node-ip", "addresses", multiple=True, required=True, help="the node's addresses, IPv4 first")
@click.option("--cpu", type=float, default=0, help="cores that pods may have; 0: all")
@click.option("--memory", type=int, default=0, help="bytes that pods may have; 0: all")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE")
@click.option("--log-level", default="INFO", show_default=True)
def command(
    kubeconfig: Path,
    node_name: str,
    root: Path,
    run_directory: Path,
    containerd_socket: Path,
    tls_cert: Path,
    tls_key: Path,
    client_ca: Path,
    addresses: tuple[str, ...],
    cpu: float,
    memory: int,
    labels: tuple[str, ...],
    log_level: str,
) -> None:
    """Run a node: pods, network, services, volumes."""
    setup_logging(log_level)
    pairs = {key: value for key, _, value in (label.partition("=") for label in labels)}
    given = (node_name, kubeconfig, root, run_directory, containerd_socket, tls_cert, tls_key, client_ca, addresses)
    asyncio.run(_until_stopped(AgentOptions(*given, cpu=cpu, memory=memory, labels=pairs)))


async def _until_stopped(options: AgentOptions) -> None:
    running = asyncio.create_task(run_agent(options))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        return
