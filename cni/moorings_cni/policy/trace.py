"""`moorings policy trace`: reads the API's objects, judges as `verdict` does, and shows the counters of the pods' nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from moorings_core.client.http import HttpClient
from moorings_core.client.resources import NAMESPACES, NETWORK_POLICIES, PODS
from moorings_core.ports.errors import ApiError, MooringsError
from moorings_core.ports.objects import Object

from .follow import METRIC
from .model import Pod, pod_of, policy_of
from .verdict import End, Verdict, judge

LINE = re.compile(rf"^{METRIC}_total{{(?P<labels>.*)}} (?P<value>\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class NoSuchEnd(MooringsError):
    """What was named is no pod that policies can be about, and no address."""


@dataclass(frozen=True, slots=True)
class Named:
    """An end of a connection as the user said it, and the node that it is on ("" outside of the cluster)."""

    end: End
    name: str
    node: str = ""


async def run(kubeconfig: Path, source: str, target: str, port: str, namespace: str, protocol: str) -> tuple[list[str], bool]:
    """Return the answer in lines, and whether the connection is allowed. Raises NoSuchEnd, ApiError, KubeconfigError."""
    client = HttpClient.from_kubeconfig(kubeconfig)
    try:
        pods = (await client.list(PODS)).items
        ends = [_end(words, namespace, pods) for words in (source, target)]
        number = _port(port, protocol, ends[1].end.pod)
        policies = [policy_of(obj) for obj in (await client.list(NETWORK_POLICIES)).items]
        labels = {obj["metadata"]["name"]: obj["metadata"].get("labels") or {} for obj in (await client.list(NAMESPACES)).items}
        one, other = _same_family(ends[0].end, ends[1].end)
        verdicts = judge(one, other, protocol, number, policies, labels)
        counts = [line for end in {e.node: e for e in ends if e.node}.values() for line in await _counts(client, end.node)]
        return _lines(ends, (one, other), verdicts, f"{protocol} {number}", counts), all(v.allowed for v in verdicts)
    finally:
        await client.close()


def _end(words: str, namespace: str, pods: Sequence[Object]) -> Named:
    try:
        address = str(ip_address(words))
    except ValueError:
        address = ""
    where, _, name = words.rpartition("/")
    for obj in pods:
        pod, metadata = pod_of(obj), obj["metadata"]
        if pod is None or not pod.addresses:
            continue
        if address in pod.addresses or (not address and (metadata["namespace"], metadata["name"]) == (where or namespace, name)):
            return Named(End(address or pod.addresses[0], pod), str(pod.key), str((obj.get("spec") or {}).get("nodeName") or ""))
    if address:
        return Named(End(address), address)
    raise NoSuchEnd(f"{words}: no pod {where or namespace}/{name} with an address of its own, and no address")


def _port(port: str, protocol: str, pod: Pod | None) -> int:
    if port.isdigit():
        return int(port)
    numbers = pod.numbers(port, protocol) if pod else []
    if not numbers:
        raise NoSuchEnd(f"{port}: the target has no {protocol} port of that name")
    return numbers[0]


def _same_family(one: End, other: End) -> tuple[End, End]:
    """Return the ends with addresses of one family, where pods have both."""
    if (":" in one.address) == (":" in other.address):
        return one, other
    for first, second in ((one, other), (other, one)):
        six = ":" in second.address
        fitting = [a for a in (first.pod.addresses if first.pod else ()) if (":" in a) == six]
        if fitting:
            changed = End(fitting[0], first.pod)
            return (changed, second) if first is one else (second, changed)
    raise NoSuchEnd(f"{one.address} and {other.address} are of different families")


async def _counts(client: HttpClient, node: str) -> list[tuple[Mapping[str, str], float]]:
    """Return the counters of a node; none where its agent can't be asked or has another program's network."""
    try:
        answer = await client.raw("GET", f"/api/v1/nodes/{node}/proxy/metrics")
    except (ApiError, OSError):
        return []
    text = answer.body.decode(errors="replace") if answer.status == 200 else ""
    return [(dict(LABEL.findall(found["labels"])), float(found["value"])) for found in LINE.finditer(text)]


def _lines(
    ends: Sequence[Named],
    addresses: tuple[End, End],
    verdicts: Iterable[Verdict],
    what: str,
    counts: Sequence[tuple[Mapping[str, str], float]],
) -> list[str]:
    both = tuple(verdicts)
    said = "allowed" if all(v.allowed for v in both) else "denied"
    places = [n.name if n.name == e.address else f"{n.name} ({e.address})" for n, e in zip(ends, addresses, strict=True)]
    lines = [f"{places[0]} -> {places[1]}, {what}: {said}"]
    for verdict, named, verb in zip(both, ends, ("leaving", "entering"), strict=True):
        lines.append(f"  {verb} {named.name}: {'allowed' if verdict.allowed else 'denied'}: {verdict.reason()}")
        for policy in verdict.isolating:
            wanted = {"policy": str(policy), "pod": named.name, "direction": verdict.direction}
            mine = {labels["verdict"]: value for labels, value in counts if wanted.items() <= labels.items()}
            if mine:
                lines.append(f"    {policy}: {mine.get('allowed', 0):.0f} packets allowed, {mine.get('denied', 0):.0f} denied so far")
    return lines
