"""The verbs of the pod network: `moorings cni serve`, `moorings policy trace`. Only click is imported until one runs."""

from __future__ import annotations

from pathlib import Path

import click

KUBECONFIG = click.option(
    "--kubeconfig", type=click.Path(path_type=Path), envvar="KUBECONFIG", default=Path("~/.kube/config"), show_default=True
)


PATH = click.Path(path_type=Path)


@click.group()
def cni() -> None:
    """Run the pod network without a moorings server."""


@cni.command()
@click.option("--bin-dir", type=PATH, default=Path("/opt/cni/bin"), show_default=True, help="where the runtime looks for plugins")
@click.option("--conf-dir", type=PATH, default=Path("/etc/cni/net.d"), show_default=True, help="and for configuration lists")
@click.option("--pod-cidr", "cidrs", multiple=True, help="addresses for pods; one range of each family")
@click.option("--inside", multiple=True, metavar="CIDR", help="what pods reach without masquerade, beside their ranges")
@click.option("--mtu", default=0, show_default="of the link to the outside")
@click.option("--sticky-addresses", is_flag=True, help="a pod of a name that was there before gets the address of then")
@click.option("--root", type=PATH, default=Path("/var/lib/moorings/cni"), show_default=True, help="what outlives a reboot")
@click.option("--run", "run_directory", type=PATH, default=Path("/run/moorings-cni"), show_default=True, help="the socket")
@click.option("--kubeconfig", type=PATH, help="of any Kubernetes: ranges from this Node, transport, network policies")
@click.option("--block-size", default=0, help="with --kubeconfig: claim blocks of this prefix length of --pod-cidr, say 26")
@click.option("--node-name", default="", show_default="the host's name")
@click.option("--node-ip", "addresses", multiple=True, help="with --kubeconfig: the node's addresses, IPv4 first")
@click.option("--backend", default="vxlan", show_default=True, help="with --kubeconfig: the way to other nodes")
@click.option("--log-level", default="INFO", show_default=True)
def serve(
    bin_dir: Path,
    conf_dir: Path,
    cidrs: tuple[str, ...],
    inside: tuple[str, ...],
    mtu: int,
    sticky_addresses: bool,
    root: Path,
    run_directory: Path,
    kubeconfig: Path | None,
    node_name: str,
    addresses: tuple[str, ...],
    backend: str,
    block_size: int,
    log_level: str,
) -> None:
    """Install the CNI plugin and a configuration list, and serve until stopped; pods stay wired after that.

    Example: moorings cni serve --pod-cidr 10.64.1.0/24
    """
    import asyncio
    import socket

    from moorings_core.log import setup_logging

    from . import alone

    if bool(block_size) != bool(cidrs and kubeconfig):
        raise click.UsageError("--block-size goes with --kubeconfig and --pod-cidr: what the cluster's nodes share in blocks")
    if bool(cidrs) == bool(kubeconfig) and not block_size:
        raise click.UsageError("either --pod-cidr (addresses of this machine alone) or --kubeconfig (of a cluster's node)")
    if kubeconfig and not addresses:
        raise click.UsageError("--kubeconfig needs --node-ip")
    setup_logging(log_level)
    options = alone.Options(bin_dir, conf_dir, root, run_directory, ranges(cidrs), inside, mtu, sticky_addresses, block_size)
    name = node_name or socket.gethostname()
    work = alone.serve_cluster(options, kubeconfig, name, addresses, backend) if kubeconfig else alone.serve(options)
    asyncio.run(alone.until_stopped(work))


def ranges(cidrs: tuple[str, ...]) -> tuple[str, ...]:
    """Return ranges, IPv4 first. Raises UsageError for what is none, and for two of a family."""
    from ipaddress import ip_network

    try:
        found = sorted((ip_network(cidr, strict=False) for cidr in cidrs), key=lambda network: network.version)
    except ValueError as error:
        raise click.UsageError(f"--pod-cidr: {error}") from None
    if len({network.version for network in found}) != len(found):
        raise click.UsageError("--pod-cidr: one range of each family")
    return tuple(map(str, found))


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
