"""Servers on stores of their own."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.e2e.access.server_process import Server
from tests.etcd_process import Etcd

FAST = {"lab": {"profile": "fast"}}


def config_map(name: str, value: str = "") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"value": value}}


@pytest.fixture
def etcd(tmp_path):
    etcd = Etcd(tmp_path)
    etcd.start()
    yield etcd
    etcd.stop()


@pytest.fixture
def server(tmp_path):
    (tmp_path / "one").mkdir()
    server = Server(tmp_path / "one", FAST)
    yield server
    server.stop()


@pytest.fixture
def pair(tmp_path, etcd):
    """Two servers of one cluster: the second has the keys of the first."""
    servers: list[Server] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir(exist_ok=True)
        servers.append(Server(tmp_path / name, FAST, f"127.0.0.{len(servers) + 1}"))
    one, two = servers
    two.port = one.port
    how = {"run": ["api", "controllers", "scheduler"], "store": {"backend": "etcd", "parameters": {"endpoints": [etcd.endpoint]}}}
    try:
        one.start(**how)
        own = shutil.ignore_patterns("server.crt", "server.key", "admin.kubeconfig")
        shutil.copytree(one.data / "pki", two.data / "pki", ignore=own)
        two.start(**how)
        yield one, two
    finally:
        for server in servers:
            server.stop()
