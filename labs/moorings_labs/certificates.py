"""The certificates of a lab: made once, kept in its directory."""

from __future__ import annotations

import ipaddress

from moorings_core import durable
from moorings_core.pki.authority import Authority
from moorings_core.pki.credentials import NodeCredentials
from moorings_core.pki.kubeconfig import kubeconfig
from moorings_core.ports.cluster import ClusterConfig

from .layout import Layout, State


def make(layout: Layout, state: State, config: ClusterConfig) -> None:
    """Make what is missing: the authority, the server's and every node's certificate, the administrator's kubeconfig."""
    authority = Authority.load_or_create(layout.pki, config.name)
    servers = {n.name for n in config.lab.nodes if "server" in n.roles}
    url = f"https://{next(a for n, a in state.nodes if n in servers)}:{config.server.port}"
    for name, address in state.nodes:
        credentials = NodeCredentials(layout.pki / name)
        if not credentials.exist():
            credentials.issue(authority, state.name, url, name, [address])
        if name in servers:
            _server(layout, authority, name, address, config)
    if not layout.kubeconfig.exists():
        admin = authority.issue("admin", organizations=["system:masters"])
        durable.write(layout.kubeconfig, kubeconfig(state.name, url, authority.cert_pem, "admin", admin))


def _server(layout: Layout, authority: Authority, name: str, address: str, config: ClusterConfig) -> None:
    pki = layout.node_root(name) / "server" / "pki"
    if (pki / "agent-client.crt").exists():
        return
    first = str(ipaddress.ip_network(config.services.cidrs[0])[1])
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{config.services.dns.domain}"]
    pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.write(pki / "ca.crt", authority.cert_pem)
    authority.issue("kube-apiserver", hosts=[address, "127.0.0.1", "localhost", first, name, *names]).write(pki, "server")
    authority.issue("kube-apiserver-kubelet-client", organizations=["system:masters"]).write(pki, "agent-client")
