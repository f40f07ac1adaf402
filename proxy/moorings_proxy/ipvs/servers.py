"""Virtual servers: what should be there, what is, and the steps between. A real server that is no longer wanted gets no new
connections and goes when it has none left (TCP), or at once (UDP and SCTP, whose flows are to go elsewhere)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

from moorings_core.kernel.ipvs import Ipvs, Real, State, Virtual
from moorings_proxy.layout import Layout
from moorings_proxy.render import Server

from .layout import protocol_of

Kind = Literal["add virtual", "add real", "drain", "delete real", "delete virtual"]
Desired = Mapping[Virtual, frozenset[Real]]
Actual = dict[Virtual, dict[Real, State]]


class Step(NamedTuple):
    """One thing to do."""

    kind: Kind
    virtual: Virtual
    real: Real = Real("", 0)


def plan(desired: Desired, actual: Actual) -> list[Step]:
    """Return what makes the actual servers the desired ones, what comes before what goes. Pure."""
    return [*_coming(desired, actual), *_going(desired, actual)]


def _coming(desired: Desired, actual: Actual) -> Iterator[Step]:
    for virtual, reals in desired.items():
        if virtual not in actual:
            yield Step("add virtual", virtual)
        known = actual.get(virtual, {})
        for real in sorted(reals):
            if real not in known or not known[real].weight:
                yield Step("add real", virtual, real)


def _going(desired: Desired, actual: Actual, *, patient: bool = False) -> Iterator[Step]:
    for virtual, known in actual.items():
        reals, lasting = desired.get(virtual, frozenset[Real]()), patient or protocol_of(virtual.mark) == "TCP"
        left = 0
        for real, state in known.items():
            if real in reals:
                left += 1
            elif not lasting or not state.connections:
                yield Step("delete real", virtual, real)
            else:
                left += 1
                if state.weight:
                    yield Step("drain", virtual, real)
        if not left and virtual not in desired:
            yield Step("delete virtual", virtual)


class Servers:
    """The virtual servers of one family in the kernel. Blocking."""

    def __init__(self, ipvs: Ipvs, layout: Layout, mine: Callable[[int], bool]) -> None:
        """mine says which marks are this backend's."""
        self._ipvs, self._layout, self._mine = ipvs, layout, mine
        self._family = socket.AF_INET if layout.length == 4 else socket.AF_INET6
        self._desired: dict[Virtual, frozenset[Real]] = {}
        self._touched: set[Virtual] = set()
        self.draining: set[Virtual] = set()
        """Those that have real servers which wait for their last connection."""

    @property
    def marks(self) -> set[int]:
        """Marks that stand for something, be it only on its way out."""
        return {virtual.mark for virtual in (*self._desired, *self.draining)}

    def want(self, old: Mapping[int, Server] | None, new: Mapping[int, Server]) -> None:
        """Note how the servers of one Service change; old None: the new ones are all there are to be."""
        gone = {virtual.mark for virtual in self._desired} if old is None else old.keys()
        for mark in gone - new.keys():
            self._desired.pop(Virtual(self._family, mark), None)
            self._touched.add(Virtual(self._family, mark))
        for mark, server in new.items():
            virtual, reals = Virtual(self._family, mark), frozenset(map(self._real, server.endpoints))
            if self._desired.get(virtual) != reals:
                self._desired[virtual] = reals
                self._touched.add(virtual)

    def come(self) -> None:
        """Make what is to be there of what changed: before anything leads to it."""
        actual = self._read(self._touched)
        self._do(list(_coming(self._some(self._touched), actual)))

    def go(self) -> None:
        """Take away what is not to be there any more of what changed or waits: after nothing leads to it."""
        some = self._touched | self.draining
        self._touched = set()
        self._leave(some, self._read(some))

    def repair(self) -> int:
        """Compare with the kernel as a whole; return how many differences there were."""
        everything = {v for v in self._ipvs.virtuals() if v.family == self._family and self._mine(v.mark)} | self._desired.keys()
        actual = self._read(everything)
        steps = plan(self._desired, actual)
        self._do([step for step in steps if step.kind.startswith("add")])
        self._leave(everything, self._read(everything))
        return len([step for step in steps if step.virtual not in self.draining or step.kind.startswith("add")])

    def leave(self) -> bool:
        """Take no new flows any more, of no protocol; return whether nothing is left.

        UDP flows are waited for as well: an answer that is under way would not find its way back without them.
        """
        self._desired = {}
        everything = {v for v in self._ipvs.virtuals() if v.family == self._family and self._mine(v.mark)}
        self._leave(everything, self._read(everything), patient=True)
        return not self.draining

    def _leave(self, some: set[Virtual], actual: Actual, *, patient: bool = False) -> None:
        self._do(list(_going(self._some(some), actual, patient=patient)))
        self.draining -= some
        for virtual, reals in self._read(some).items():
            wanted = self._desired.get(virtual, frozenset[Real]())
            if reals.keys() - wanted or virtual not in self._desired:
                self.draining.add(virtual)

    def _some(self, some: set[Virtual]) -> Desired:
        return {virtual: self._desired[virtual] for virtual in some if virtual in self._desired}

    def _read(self, some: set[Virtual]) -> Actual:
        found: Actual = {}
        for virtual in some:
            reals = self._ipvs.reals(virtual)
            if reals is not None:
                found[virtual] = reals
        return found

    def _real(self, data: bytes) -> Real:
        length = self._layout.length
        return Real(socket.inet_ntop(self._family, data[:length]), int.from_bytes(data[length : length + 2], "big"))

    def _do(self, steps: list[Step]) -> None:
        for kind, virtual, real in steps:
            match kind:
                case "add virtual":
                    self._ipvs.add_virtual(virtual)
                case "add real":
                    self._ipvs.add_real(virtual, real)
                case "drain":
                    self._ipvs.drain(virtual, real)
                case "delete real":
                    self._ipvs.delete_real(virtual, real)
                case "delete virtual":
                    self._ipvs.delete_virtual(virtual)
