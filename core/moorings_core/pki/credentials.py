"""What a node needs to join: a directory with four files, made beside the authority and copied to the node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an agent reads these files and issues none: importing cryptography would cost each of them 5 MB
    from .authority import Authority


@dataclass(frozen=True, slots=True)
class NodeCredentials:
    """The files of a node below one directory."""

    directory: Path

    @property
    def kubeconfig(self) -> Path:
        """How the agent reaches the API, with its client certificate inside."""
        return self.directory / "kubeconfig"

    @property
    def certificate(self) -> Path:
        """The certificate that the API server sees when it calls the agent."""
        return self.directory / "node.crt"

    @property
    def key(self) -> Path:
        """Its key."""
        return self.directory / "node.key"

    @property
    def authority(self) -> Path:
        """Who signs those that may call the agent."""
        return self.directory / "ca.crt"

    def exist(self) -> bool:
        """Whether they were made before; the kubeconfig is written last."""
        return self.kubeconfig.exists()

    def issue(self, authority: Authority, cluster: str, url: str, node: str, addresses: Sequence[str]) -> None:
        """Make and write them. url: of the API; addresses: at which the API server calls the agent."""
        from moorings_core import durable

        from .kubeconfig import kubeconfig

        certificate = authority.issue(f"system:node:{node}", organizations=["system:nodes"], hosts=[node, *addresses, "127.0.0.1"])
        certificate.write(self.directory, "node")
        durable.write(self.authority, authority.cert_pem)
        durable.write(self.kubeconfig, kubeconfig(cluster, url, authority.cert_pem, node, certificate))
