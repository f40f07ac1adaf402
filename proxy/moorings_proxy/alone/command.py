"""The verb."""

from __future__ import annotations

import socket
from pathlib import Path

import click

PATH = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("proxy")
@click.option("--kubeconfig", type=PATH, required=True, help="of the control plane; system:kube-proxy's rights are enough")
@click.option("--backend", default="nftables", show_default=True, help="any installed proxy backend")
@click.option("--hostname-override", "node", default=socket.gethostname, show_default="the host's name", help="the Node of this machine")
@click.option("--cluster-cidr", default="", help="ranges of pods, by commas; default: the Node's podCIDRs")
@click.option("--metrics-bind-address", default="127.0.0.1:10249", show_default=True, help="ADDRESS:PORT of /metrics")
@click.option("--healthz-bind-address", default="0.0.0.0:10256", show_default=True, help="ADDRESS:PORT of /healthz and /livez")
@click.option("--bind-address", default="", help="the node's address where its Node object is not there; default: the Node's")
@click.option("--cgroup", default="", help="the node's cgroup with all its pods, below each hierarchy (backend ebpf)  [default: the root]")
@click.option("--cleanup", is_flag=True, help="remove what the backend has put into the kernel, and end")
@click.option("--log-level", default="INFO", show_default=True)
def proxy(
    kubeconfig: Path,
    backend: str,
    node: str,
    cluster_cidr: str,
    metrics_bind_address: str,
    healthz_bind_address: str,
    bind_address: str,
    cgroup: str,
    cleanup: bool,
    log_level: str,
) -> None:
    """Serve the Services of any Kubernetes cluster on this node, in place of kube-proxy.

    Example: moorings proxy --kubeconfig /etc/kubernetes/proxy.conf --backend nftables --hostname-override node-1
    """
    import asyncio

    from moorings_core.log import setup_logging

    from .run import Options, remove, serve

    setup_logging(log_level)
    cidrs = tuple(filter(None, cluster_cidr.split(",")))
    options = Options(kubeconfig, backend, node.lower(), cidrs, metrics_bind_address, healthz_bind_address, bind_address, cgroup)
    asyncio.run((remove if cleanup else serve)(options))
