"""Three namespaces with three pods each on two nodes, and who reaches whom: asked with real packets, and told by the slow model."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

from cni_support import Fabric, Pod, until
from tests.traffic import Echo

from moorings_cni.policy.model import pod_of, policy_of
from moorings_cni.policy.verdict import End, judge
from moorings_core.client.informer import Informer
from moorings_core.client.resources import NAMESPACES, NETWORK_POLICIES, PODS
from moorings_core.kernel.namespaces import call_in
from moorings_core.ports.objects import Object

PORTS = (80, 81)
LONG, SHORT = 10.0, 0.3
"""Seconds: for what has to come, and for what must not come after everything else has."""


class Question(NamedTuple):
    """From a pod to an address."""

    source: str
    target: str
    protocol: str
    address: str
    port: int


class World:
    """The pods, as objects of the API and as namespaces of the kernel."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric, self.client = fabric, fabric.client
        self.pods: dict[str, Pod] = {}
        self.policies: list[Object] = []
        self._echoes = ExitStack()
        for namespace in "xyz":
            self.client.put(NAMESPACES, {"metadata": {"name": namespace, "labels": {"ns": namespace}}})
            for index, name in enumerate("abc"):
                self.add(namespace, name, index % len(fabric.nodes), {"pod": name})

    def add(self, namespace: str, name: str, node: int, labels: dict[str, str], publish: bool = True) -> Pod:
        """Make a pod's object and wire it."""
        pod = self.fabric.nodes[node].pod()
        ports = [{"name": f"serve-{port}", "containerPort": port, "protocol": p} for port in PORTS for p in ("TCP", "UDP")]
        metadata = {"name": name, "namespace": namespace, "uid": f"u{namespace}{name}", "labels": labels}
        obj: Object = {"metadata": metadata, "spec": {"containers": [{"ports": ports}]}, "status": {"phase": "Pending"}}
        self.client.put(PODS, obj)
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID=u{namespace}{name}"
        pod.add(env={"CNI_ARGS": args})
        for port in PORTS:
            self._echoes.callback(Echo(pod.path, port, socket.AF_INET6).close)
        if publish:
            ips = [{"ip": ip["address"].split("/")[0]} for ip in pod.result["ips"]]
            self.client.put(PODS, obj | {"status": {"phase": "Running", "podIPs": ips}})
        self.pods[f"{namespace}/{name}"] = pod
        return pod

    def obey(self, *specs: tuple[str, Object]) -> None:
        """Let these policies, and no others, hold; return when the nodes know."""
        for old in self.policies:
            self.client.remove(NETWORK_POLICIES, old["metadata"]["name"], old["metadata"]["namespace"])
        self.policies = [
            self.client.put(NETWORK_POLICIES, {"metadata": {"name": f"p{number}", "namespace": namespace}, "spec": spec})
            for number, (namespace, spec) in enumerate(specs)
        ]
        self.settle()

    def settle(self) -> None:
        """Return when every node has heard everything and done it."""
        for node in self.fabric.nodes:
            keeper = node.exchange.component.policies
            until(lambda keeper=keeper: self._heard(keeper.informers) and not keeper.busy, what=f"{node.name} knows")

    def _heard(self, informers: Iterable[Informer]) -> bool:
        """Whether informers that run at all have all that the API has."""
        pairs = [({key: obj["metadata"]["resourceVersion"] for key, obj in i.items.items()}, i) for i in informers if i.has_synced]
        return all(have == self.client.versions(informer.resource) for have, informer in pairs)

    def addresses(self, name: str) -> list[str]:
        """Return a pod's addresses."""
        return [ip["address"].split("/")[0] for ip in self.pods[name].result["ips"]]

    def questions(self) -> Iterable[Question]:
        """Everybody asks everybody: TCP and UDP, two ports, both families."""
        for source in self.pods:
            for target in self.pods:
                four, six = self.addresses(target)
                for protocol, address, port in (
                    ("TCP", four, 80),
                    ("TCP", four, 81),
                    ("UDP", four, 80),
                    ("TCP", six, 80),
                    ("UDP", six, 81),
                ):
                    yield Question(source, target, protocol, address, port)

    def expected(self, question: Question) -> bool:
        """Return what the policies mean for a question."""
        objects = {
            name: pod_of(self.client.read(PODS, name.split("/")[1], name.split("/")[0])) for name in (question.source, question.target)
        }
        source = self.addresses(question.source)[":" in question.address]
        ends = End(source, objects[question.source]), End(question.address, objects[question.target])
        policies = [policy_of(obj) for obj in self.policies]
        labels = {namespace: {"ns": namespace} for namespace in "xyz"}
        return all(verdict.allowed for verdict in judge(*ends, question.protocol, question.port, policies, labels))

    def check(self) -> tuple[int, int]:
        """Ask all questions, those of one family at once, and compare; return how many were allowed and denied."""
        allowed = denied = 0
        for six in (False, True):  # all at once would be more sockets than a process may usually have
            questions = [q for q in self.questions() if (":" in q.address) == six]
            wanted = {question for question in questions if self.expected(question)}
            reached = self._ask(questions, wanted)
            assert reached == wanted, f"too many: {sorted(reached - wanted)[:5]}, too few: {sorted(wanted - reached)[:5]}"
            allowed, denied = allowed + len(wanted), denied + len(questions) - len(wanted)
        return allowed, denied

    def _ask(self, questions: list[Question], wanted: set[Question]) -> set[Question]:
        with ThreadPoolExecutor(len(self.pods)) as threads:
            mine = [([q for q in questions if q.source == name], self.pods[name].path) for name in self.pods]
            answers = threads.map(lambda pair: call_in(pair[1], _asker(pair[0], wanted)), mine)
        return {question for answer in answers for question in answer}

    def close(self) -> None:
        """End the servers."""
        self._echoes.close()


def _asker(questions: list[Question], allowed: set[Question]) -> Callable[[], set[Question]]:
    def ask() -> set[Question]:
        sockets = {_send(question): question for question in questions}
        missing, reached = set(questions) & allowed, set[Question]()
        end = time.monotonic() + LONG
        poll = select.poll()
        by_fd = {sock.fileno(): sock for sock in sockets}
        for sock in sockets:
            poll.register(sock, select.POLLIN)
        late = False
        while time.monotonic() < end:
            if not missing and not late:
                late, end = True, time.monotonic() + SHORT
            for fd, _ in poll.poll(50):
                poll.unregister(fd)
                if _answered(by_fd[fd]):
                    reached.add(sockets[by_fd[fd]])
                    missing.discard(sockets[by_fd[fd]])
        for sock in sockets:
            sock.close()
        return reached

    return ask


def _send(question: Question) -> socket.socket:
    family = socket.AF_INET6 if ":" in question.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if question.protocol == "TCP" else socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.connect((question.address, question.port))
    except BlockingIOError:
        pass
    if question.protocol == "UDP":
        sock.send(b"hello")
    return sock


def _answered(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(100))
    except OSError:
        return False
