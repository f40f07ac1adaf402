"""The verbs of labs: up, down, status, kubeconfig, load, exec, logs, node, swap."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import yaml

from moorings_core.client.http import HttpClient
from moorings_core.client.resources import NODES, PODS
from moorings_core.ports.errors import ApiError

from . import engine, layout, nodes
from .engine import Lab, LabError
from .exchange import swap_network

DEFAULT = "moorings"
NAME = click.option("--name", default=DEFAULT, show_default=True, help="the lab")
OUTPUT = click.option("-o", "--output", type=click.Choice(["json", "yaml", "wide", "name", "table"]), default="table")
PATH = click.Path(exists=True, dir_okay=False, path_type=Path)


def _need_root() -> None:
    if os.geteuid() != 0:
        raise LabError("labs need root: nodes are network, mount and process namespaces (try sudo)")


@click.command()
@click.option("-f", "--file", "file", type=PATH, help="the cluster file; default: one server and three nodes")
@NAME
@click.option("--wait", default=60.0, show_default=True, help="seconds that each step may take")
@click.option("--retain", is_flag=True, help="keep what was made when it fails or is interrupted")
def up(file: Path | None, name: str, wait: float, retain: bool) -> None:
    """Make a lab, or finish one; doing it twice is doing it once. Example: moorings up -f labs/topologies/demo.yaml"""
    _need_root()
    text = file.read_text() if file else ""
    before = layout.load(name) is not None
    try:
        lab = asyncio.run(engine.up(name, text, engine.print_step, wait))
    except BaseException:
        if not before and not retain and layout.load(name) is not None:
            sys.stderr.write("undoing what was made (keep it with --retain)\n")
            asyncio.run(engine.down(name))
        raise
    sys.stderr.write(f"\nTry: export KUBECONFIG={lab.layout.kubeconfig}; kubectl get nodes\n")


@click.command()
@click.argument("name", default=DEFAULT)
def down(name: str) -> None:
    """Take a lab down and leave nothing."""
    _need_root()
    asyncio.run(engine.down(name))


@click.command()
@NAME
@OUTPUT
def status(name: str, output: str) -> None:
    """Show the nodes of a lab."""
    lab = engine.find(name)
    rows = asyncio.run(_status(lab))
    if output == "json":
        click.echo(json.dumps({"name": name, "nodes": rows}, indent=2))
    elif output == "yaml":
        click.echo(yaml.safe_dump({"name": name, "nodes": rows}, sort_keys=False), nl=False)
    elif output == "name":
        click.echo("\n".join(row["name"] for row in rows))
    else:
        keys = ["name", "roles", "power", "ready", "address", *(["pods", "pid"] if output == "wide" else [])]
        _table([[k.upper() for k in keys], *([str(row[k]) for k in keys] for row in rows)])


@click.command()
@NAME
@click.option("--raw", is_flag=True, help="print the file itself")
def kubeconfig(name: str, raw: bool) -> None:
    """Print the path of a lab's kubeconfig, or the file."""
    lab = engine.find(name)
    click.echo(lab.layout.kubeconfig.read_text() if raw else str(lab.layout.kubeconfig), nl=not raw)


@click.command()
@click.argument("archive", type=PATH)
@NAME
def load(archive: Path, name: str) -> None:
    """Import an image archive into every node. Example: moorings load web.tar"""
    for node, done in asyncio.run(engine.load_image(engine.find(name), archive)).items():
        click.echo(f"{node}\t{'loaded' if done else 'off'}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("node")
@click.argument("command", nargs=-1, required=True)
@NAME
def exec_(node: str, command: tuple[str, ...], name: str) -> None:
    """Run a command inside a node. Example: moorings exec node-1 -- ip route"""
    lab = engine.find(name)
    lab.plan(node)
    words = command[1:] if command[0] == "--" else command
    sys.exit(subprocess.run([*nodes.enter(lab.layout, node), *words], check=False).returncode)


@click.command()
@click.argument("what")
@NAME
@click.option("-f", "--follow", is_flag=True)
@click.option("--tail", default=200, show_default=True)
def logs(what: str, name: str, follow: bool, tail: int) -> None:
    """Show the logs of a node (all its programs) or of a component (server, agent, containerd, init)."""
    lab = engine.find(name)
    pattern = f"nodes/{what}/logs/*.log" if what in dict(lab.state.nodes) else f"nodes/*/logs/{what}.log"
    files = sorted(lab.layout.root.glob(pattern))
    if not files:
        raise LabError(f"lab {name} has neither a node nor a component {what!r}")
    sys.exit(subprocess.run(["tail", "-n", str(tail), *(["-F"] if follow else []), *map(str, files)], check=False).returncode)


@click.group()
def node() -> None:
    """Switch a node off and on."""


@node.command()
@click.argument("node_name")
@NAME
def poweroff(node_name: str, name: str) -> None:
    """Cut a node's power: everything on it dies at once."""
    asyncio.run(engine.power_off(engine.find(name), node_name))


@node.command()
@click.argument("node_name")
@NAME
@click.option("--wait", default=60.0, show_default=True)
def start(node_name: str, name: str, wait: float) -> None:
    """Give a node its power back and wait until all nodes are Ready."""
    lab = engine.find(name)
    asyncio.run(engine.start(lab, node_name))
    asyncio.run(engine.ready(lab, wait))


@click.group()
def swap() -> None:
    """Exchange a backend of a running cluster."""


@swap.command("network")
@click.argument("backend")
@NAME
@click.option("--kubeconfig", "kubeconfig_file", type=PATH, help="of a cluster that is no lab")
@click.option("--timeout", default=60.0, show_default=True)
def swap_network_command(backend: str, name: str, kubeconfig_file: Path | None, timeout: float) -> None:
    """Carry pod traffic another way, without losing a packet. Example: moorings swap network routed"""
    path = kubeconfig_file or engine.find(name).layout.kubeconfig
    seconds = asyncio.run(swap_network(path, backend, timeout))
    click.echo(f"network is {backend} on all nodes after {seconds:.2f} s")


async def _status(lab: Lab) -> list[dict[str, Any]]:
    client = HttpClient.from_kubeconfig(lab.layout.kubeconfig)
    try:
        async with asyncio.timeout(5):
            known = {n["metadata"]["name"]: n for n in (await client.list(NODES)).items}
            pods = [p["spec"].get("nodeName") for p in (await client.list(PODS)).items]
    except (ApiError, OSError, TimeoutError):
        known, pods = {}, []
    finally:
        await client.close()
    return [
        {
            "name": plan.node.name,
            "roles": ",".join(plan.node.roles),
            "power": "on" if (pid := nodes.first_process(lab.layout, plan.node.name)) else "off",
            "ready": ("yes" if engine.is_ready(known[plan.node.name]) else "no") if plan.node.name in known else "-",
            "address": plan.address,
            "pods": pods.count(plan.node.name),
            "pid": pid,
        }
        for plan in lab.plans
    ]


def _table(rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
