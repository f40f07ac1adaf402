"""The verbs of labs: up, down, status, kubeconfig, load, exec, logs, node, swap, doctor, verify.

Only click is imported here, so that help is quick; a verb brings the rest when it runs. stdout is data, progress goes to stderr.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .output import Row

T = TypeVar("T")
DEFAULT = "moorings"
NAME = click.option("--name", default=DEFAULT, show_default=True, envvar="MOORINGS_LAB_NAME", help="the lab")
OUTPUT = click.option("-o", "--output", type=click.Choice(["json", "yaml", "wide", "name", "table"]), default="table", show_default=True)
WAIT = click.option("--wait", default=60.0, show_default=True, help="seconds that each step may take")
PATH = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("-f", "--file", "file", type=PATH, help="the cluster file; default: one server and three nodes")
@NAME
@WAIT
@click.option("--retain", is_flag=True, help="keep what was made when it fails or is interrupted")
def up(file: Path | None, name: str, wait: float, retain: bool) -> None:
    """Make a lab, or finish one; doing it twice is doing it once.

    Example: moorings up -f labs/topologies/demo.yaml
    """
    from . import doctor, engine, layout
    from .progress import say, step

    text = file.read_text() if file else ""
    engine.check(text, str(file or "cluster.yaml"))
    doctor.need(doctor.NEEDED)
    before = layout.load(name) is not None
    try:
        lab = _run(engine.up(name, text, wait))
    except BaseException:
        if not before and not retain and layout.load(name) is not None:
            with step("undoing what was made (--retain keeps it)"):
                _run(engine.down(name))
        raise
    say(f"\nTry: export KUBECONFIG={lab.layout.kubeconfig}; kubectl get nodes")


@click.command()
@click.argument("name", default=DEFAULT, envvar="MOORINGS_LAB_NAME")
def down(name: str) -> None:
    """Take a lab down and leave nothing. Example: moorings down"""
    from . import doctor, engine

    doctor.need(doctor.NEEDED[:1])
    _run(engine.down(name))


@click.command()
@NAME
@OUTPUT
def status(name: str, output: str) -> None:
    """Show the nodes of a lab. Example: moorings status -o json"""
    from . import engine
    from .output import show

    rows = _run(engine.status(engine.find(name)))
    columns = ["name", "roles", "power", "ready", "address", *(["pods", "pid"] if output == "wide" else [])]
    show(output, {"name": name, "nodes": rows}, rows, columns)


@click.command()
@NAME
@click.option("--raw", is_flag=True, help="print the file itself")
def kubeconfig(name: str, raw: bool) -> None:
    """Print the path of a lab's kubeconfig, or the file. Example: export KUBECONFIG=$(moorings kubeconfig)"""
    from . import engine

    lab = engine.find(name)
    click.echo(lab.layout.kubeconfig.read_text() if raw else str(lab.layout.kubeconfig), nl=not raw)


@click.command()
@click.argument("archive", type=PATH)
@NAME
@OUTPUT
def load(archive: Path, name: str, output: str) -> None:
    """Import an image archive into every node. Example: moorings load web.tar"""
    from . import engine
    from .output import show

    done = _run(engine.load_image(engine.find(name), archive))
    rows: list[Row] = [{"name": node, "state": "loaded" if loaded else "off"} for node, loaded in done.items()]
    show(output, {"archive": str(archive), "nodes": rows}, rows, ["name", "state"])


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("node")
@click.argument("command", nargs=-1, required=True)
@NAME
def exec_(node: str, command: tuple[str, ...], name: str) -> None:
    """Run a command inside a node; its exit code is ours. Example: moorings exec node-1 -- ip route"""
    from . import engine, nodes

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
    """Show the logs of a node (all its programs) or of a component (server, agent, containerd, init).

    Example: moorings logs node-1
    """
    from . import engine

    lab = engine.find(name)
    pattern = f"nodes/{what}/logs/*.log" if what in dict(lab.state.nodes) else f"nodes/*/logs/{what}.log"
    files = sorted(lab.layout.root.glob(pattern))
    if not files:
        raise engine.NoSuchNode(f"lab {name} has neither a node nor a component {what!r}")
    sys.exit(subprocess.run(["tail", "-n", str(tail), *(["-F"] if follow else []), *map(str, files)], check=False).returncode)


@click.group()
def node() -> None:
    """Switch a node off and on."""


@node.command()
@click.argument("node_name")
@NAME
def poweroff(node_name: str, name: str) -> None:
    """Cut a node's power: everything on it dies at once, its disk stays. Example: moorings node poweroff node-1"""
    from . import engine

    _run(engine.power_off(engine.find(name), node_name))


@node.command()
@click.argument("node_name")
@NAME
@WAIT
def start(node_name: str, name: str, wait: float) -> None:
    """Give a node its power back and wait until it is Ready. Example: moorings node start node-1"""
    from . import engine

    _run(engine.start(engine.find(name), node_name, wait))


def _kubeconfig(lab: str, given: Path | None) -> Path:
    """Return the kubeconfig of a cluster: the one given, or a lab's."""
    from . import engine

    return given or engine.find(lab).layout.kubeconfig


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
    from .exchange import swap_network

    seconds = _run(swap_network(_kubeconfig(name, kubeconfig_file), backend, timeout))
    click.echo(f"network is {backend} on all nodes after {seconds:.2f} s")


@swap.command("proxy")
@click.argument("backend")
@NAME
@click.option("--kubeconfig", "kubeconfig_file", type=PATH, help="of a cluster that is no lab")
@click.option("--timeout", default=60.0, show_default=True)
def swap_proxy_command(backend: str, name: str, kubeconfig_file: Path | None, timeout: float) -> None:
    """Serve Services another way, without losing a connection. Example: moorings swap proxy ipvs"""
    from .exchange import swap_proxy

    seconds = _run(swap_proxy(_kubeconfig(name, kubeconfig_file), backend, timeout))
    click.echo(f"the proxy is {backend} on all nodes after {seconds:.2f} s")


@swap.command("store")
@click.argument("backend")
@NAME
@click.option("-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="of the new store, as in the cluster file")
@click.option("--kubeconfig", "kubeconfig_file", type=PATH, help="of a cluster that is no lab")
@click.option("--timeout", default=120.0, show_default=True)
def swap_store_command(backend: str, name: str, given: tuple[str, ...], kubeconfig_file: Path | None, timeout: float) -> None:
    """Keep the objects elsewhere, without losing a write or a watch.

    Example: moorings swap store etcd -p endpoints=http://10.0.0.5:2379
    """
    import yaml

    from .exchange import swap_store

    if wrong := [text for text in given if "=" not in text]:
        raise click.UsageError(f"--parameter {wrong[0]}: expected NAME=VALUE")
    parameters = {key: yaml.safe_load(value) for key, value in (text.split("=", 1) for text in given)}
    seconds = _run(swap_store(_kubeconfig(name, kubeconfig_file), backend, parameters, timeout))
    click.echo(f"the store is {backend} after {seconds:.2f} s")


@click.command("doctor")
@OUTPUT
def doctor_command(output: str) -> None:
    """Tell what this machine lacks, and which feature that costs. Exit code 1: no lab can run here."""
    from . import doctor
    from .output import show

    findings = doctor.examine(doctor.CHECKS)
    rows: list[Row] = [
        {"name": f.name, "verdict": f.verdict, "costs": f.costs if f.problem else "", "problem": f.problem} for f in findings
    ]
    show(output, {"checks": rows}, rows, ["name", "verdict", "costs", "problem"])
    sys.exit(1 if any(f.verdict == "FAILED" for f in findings) else 0)


@click.command()
@OUTPUT
def verify(output: str) -> None:
    """List what labs left on this machine that are not there any more. Exit code 1: something was found."""
    from . import audit
    from .output import show
    from .progress import say

    found = audit.leftovers(audit.read(), audit.living())
    rows: list[Row] = [{"kind": r.kind, "lab": r.lab, "name": r.name} for r in found]
    show(output, {"leftovers": rows}, rows, ["kind", "lab", "name"])
    say(f"{len(found) or 'nothing'} left of labs that are gone")
    sys.exit(1 if found else 0)


def _run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(work)
