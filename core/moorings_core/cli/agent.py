"""`moorings agent`: runs a node's pods."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import click

from moorings_core.agent.main import AgentOptions, run_agent
from moorings_core.log import setup_logging
from moorings_core.pki.credentials import NodeCredentials
from moorings_core.ports.errors import MooringsError

PATH = click.Path(path_type=Path)


class NoCredentials(MooringsError):
    """The node has nothing to say who it is."""


@click.command()
@click.option("--credentials", type=PATH, default=Path("/etc/moorings"), show_default=True, help="what `moorings credentials` made")
@click.option("--node-name", default=socket.gethostname, show_default="the host's name")
@click.option("--root", type=PATH, default=Path("/var/lib/moorings/agent"), show_default=True, help="what outlives a reboot")
@click.option("--run", "run_directory", type=PATH, default=Path("/run/moorings"), show_default=True, help="sockets")
@click.option("--containerd-socket", type=PATH, default=Path("/run/containerd/containerd.sock"), show_default=True)
@click.option("--node-ip", "addresses", multiple=True, required=True, help="the node's addresses, IPv4 first")
@click.option("--cpu", type=float, default=0, help="cores that pods may have; 0: all")
@click.option("--memory", type=int, default=0, help="bytes that pods may have; 0: all")
@click.option("--cgroup", default="", help="the cgroup below which pods go, in every hierarchy; default: the root")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE")
@click.option("--log-level", default="INFO", show_default=True)
def command(
    credentials: Path,
    node_name: str,
    root: Path,
    run_directory: Path,
    containerd_socket: Path,
    addresses: tuple[str, ...],
    cpu: float,
    memory: int,
    cgroup: str,
    labels: tuple[str, ...],
    log_level: str,
) -> None:
    """Run a node: pods, network, services, volumes.

    Example: moorings agent --credentials /etc/moorings --node-name node-1 --node-ip 192.0.2.11
    """
    setup_logging(log_level)
    pairs = {key: value for key, _, value in (label.partition("=") for label in labels)}
    found = NodeCredentials(credentials)
    if not found.exist():
        raise NoCredentials(f"{found.kubeconfig} is not there: `moorings credentials {node_name}` on the server makes what a node needs")
    given = (node_name, found, root, run_directory, containerd_socket, addresses)
    asyncio.run(_until_stopped(AgentOptions(*given, cpu=cpu, memory=memory, cgroup=cgroup, labels=pairs)))


async def _until_stopped(options: AgentOptions) -> None:
    running = asyncio.create_task(run_agent(options))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        return
