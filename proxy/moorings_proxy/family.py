"""One address family's table in the kernel: what it should hold, what it holds, and the transactions in between. Blocking."""

from __future__ import annotations

import errno
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

from moorings_core.kernel.nftables import Batch, BatchError, Connection, NftablesError, run_sync
from moorings_core.kernel.nftables.changes import Changes, difference
from moorings_core.log import get_logger
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import ProxyError, ProxySettings, ServiceEntry

from .layout import RAW_CHAINS, Layout
from .packed import PackedTable
from .render import Items, Rendered, Server, render
from .shadow import Shadow

log = get_logger(__name__)
CHUNK = 16_000
"""Elements in one transaction at most, unless they belong together: the kernel's commit lock is held for about 2 us each."""
TRIES = 5


@contextmanager
def _without_collector() -> Iterator[None]:
    """Hold off cyclic collection: it would walk the same 100,000 live objects again and again while they are made."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class Family:
    """The state of one family; calls come one at a time."""

    def __init__(self, layout: Layout, settings: ProxySettings, connection: Connection) -> None:
        self.layout, self._settings, self._connection = layout, settings, connection
        self._entries = PackedTable()
        """The services that have anything in this family."""
        self._shadow = Shadow(layout.length + 8, lambda name: self._render(name, self._entries[name]).items)
        self._chains: set[str] = set()
        self._affinity: dict[str, tuple[int, frozenset[bytes]]] = {}
        self._made: set[str] = set()
        self._made_affinity: dict[str, int] = {}
        self._forgetful: set[str] = set()
        """Ports with affinity whose clients may remember endpoints that are gone: until a look has shown that none does."""
        self._rules: dict[str, tuple[bytes, ...]] = {}

    def configure(self, settings: ProxySettings) -> None:
        """Take in other settings; before the first sync there is nothing to be done for it."""
        self._settings = settings
        if self._rules:
            self._repair()

    def sync(self, table: Mapping[Key, ServiceEntry]) -> None:
        """Serve exactly this table, whatever the kernel holds."""
        with _without_collector():
            self._entries = PackedTable(table).having("." if self.layout.length == 4 else ":")
            self._repair()

    def change(self, delta: Mapping[Key, ServiceEntry | None]) -> None:
        """Take in changes; small ones are one transaction."""
        for name, entry in delta.items():
            self._forgetful |= self._replace(name, entry)
        changes = self._shadow.take()
        try:
            self._commit(changes)
        except (BatchError, OSError) as error:
            log.warning("change refused, comparing with the kernel", table=self.layout.table, family=self.layout.family, error=str(error))
            self._repair()
        self._prune()

    def verify(self) -> int:
        """Repair what differs from the table; return how many differences there were."""
        return self._repair(only_if_different=True)

    def remove(self) -> None:
        """Delete the whole table."""
        batch = Batch()
        batch.delete_table(self.layout.family, self.layout.table)
        if self.layout.table in self._connection.tables(self.layout.family):
            self._connection.commit(batch)

    def _replace(self, name: Key, entry: ServiceEntry | None) -> set[str]:
        """Note what a service is now; return the affinity identities that lost an endpoint."""
        old = self._render(name, self._entries[name]) if name in self._entries else Rendered()
        new = self._render(name, entry) if entry else Rendered()
        self._shadow.replace(name, old.items, new.items)
        self._changed(old.servers, new.servers)
        self._chains |= new.chains
        dropped = set()
        for identity, (_, endpoints) in old.affinity.items():
            if identity not in new.affinity:
                self._affinity.pop(identity, None)
            if endpoints - new.affinity.get(identity, (0, frozenset()))[1]:
                dropped.add(identity)
        self._affinity |= new.affinity
        if entry and new.items:
            self._entries[name] = entry
        else:
            self._entries.pop(name, None)
        return dropped

    def _desired(self) -> dict[str, dict[bytes, bytes]]:
        """Make everything anew; return every element by map."""
        self._affinity = {}
        servers: dict[int, Server] = {}
        desired = self._shadow.load(self._render_all(servers))
        self._changed(None, servers)
        return desired

    def _render_all(self, servers: dict[int, Server]) -> Iterator[tuple[Key, Items]]:
        for name in sorted(self._entries):
            rendered = self._render(name, self._entries[name])
            if not rendered.items:
                del self._entries[name]
                continue
            self._affinity |= rendered.affinity
            self._chains |= rendered.chains
            servers |= rendered.servers
            yield name, rendered.items

    def _changed(self, old: Mapping[int, Server] | None, new: Mapping[int, Server]) -> None:
        """Servers of a service (old None: all there are) have become others: for what is not in tables."""

    def _render(self, name: Key, entry: ServiceEntry) -> Rendered:
        return render(self.layout, name, entry)

    def _commit(self, changes: Changes) -> None:
        fresh = self._chains - self._made
        first = Batch()
        for name in sorted(fresh):
            self.layout.fill_chain(first, name, self.layout.rules(name))
        wanted = {identity: seconds for identity, (seconds, _) in self._affinity.items()}
        for identity, seconds in wanted.items():
            if self._made_affinity.get(identity) != seconds:
                self.layout.add_affinity(first, identity, seconds)
        for batch in self._batches(changes, first):
            self._connection.commit(batch)
        self._made |= fresh
        changed = bool(fresh) or self._made_affinity != wanted
        self._collect_affinity(wanted)
        if changed:
            self._rules = self._connection.rules(self.layout.family, self.layout.table)

    def _batches(self, changes: Changes, batch: Batch) -> Iterator[Batch]:
        """Yield transactions: slots before the verdicts that lead to them, and the other way round for what goes.

        What goes has a transaction of its own: a packet may have looked its verdict up before one is committed, and its slot after.
        """
        replaced = {name: set(keys) & changes.add.get(name, {}).keys() for name, keys in changes.delete.items()}
        for name, spec in self.layout.sets.items():
            if spec.interval:  # a range may not overlap one that is still there: first those that go, in the same transaction
                batch.delete_elements(spec, changes.delete.get(name, ()))
                batch.add_elements(spec, changes.add.get(name, {}).items())
                continue
            items = iter(changes.add.get(name, {}).items())
            while piece := list(islice(items, max(CHUNK - batch.elements, 1))):
                batch.delete_elements(spec, [key for key, _ in piece if key in replaced.get(name, ())])
                batch.add_elements(spec, piece)
                if batch.elements >= CHUNK:
                    yield batch
                    batch = Batch()
        if batch.elements and any(set(keys) - replaced[name] for name, keys in changes.delete.items()):
            yield batch
            batch = Batch()
        for name, spec in reversed(self.layout.sets.items()):
            if spec.interval:
                continue
            gone = (key for key in changes.delete.get(name, ()) if key not in replaced.get(name, ()))
            while keys := list(islice(gone, max(CHUNK - batch.elements, 1))):
                batch.delete_elements(spec, keys)
                if batch.elements >= CHUNK:
                    yield batch
                    batch = Batch()
        yield batch

    def _collect_affinity(self, wanted: Mapping[str, int]) -> None:
        """Delete the chains and maps of ports whose affinity ended: after the transaction, as older kernels count late."""
        kept = dict(wanted)
        for identity in self._made_affinity.keys() - wanted.keys():
            batch = Batch()
            self.layout.delete_affinity(batch, identity)
            try:
                self._connection.commit(batch)
            except BatchError as error:
                if error.has(errno.EBUSY):
                    kept[identity] = self._made_affinity[identity]
        self._made_affinity = kept

    def _prune(self) -> None:
        """Make clients forget endpoints that no longer serve. What raises here is done again by the next change or repair."""
        self._forgetful &= self._affinity.keys()
        for identity in sorted(self._forgetful):
            for _ in range(TRIES):
                if not self._forget(identity):
                    self._forgetful.discard(identity)
                    break

    def _forget(self, identity: str) -> int:
        """Delete the stale memories of one port; return how many there were. A packet under way may bring one back: look again."""
        spec, endpoints = self.layout.affinity(identity), self._affinity[identity][1]
        stale = [key for key, data in self._connection.dump(spec).items() if data not in endpoints]
        for key in stale:
            batch = Batch()
            batch.delete_elements(spec, [key])
            try:
                self._connection.commit(batch)
            except BatchError as error:
                if not error.has(errno.ENOENT):  # it may just have expired
                    raise
        return len(stale)

    def _repair(self, *, only_if_different: bool = False) -> int:
        """Compare everything, repair it, return the number of differences. Raises ProxyError."""
        return self._compare(self._desired(), only_if_different=only_if_different)

    def _compare(self, desired: Mapping[str, Mapping[bytes, bytes]], *, only_if_different: bool) -> int:
        count = 0
        last: Exception | None = None
        refused: set[tuple[str, bytes]] = set()
        for _ in range(TRIES):
            try:
                if not (only_if_different and self._rules == self._connection.rules(self.layout.family, self.layout.table)):
                    count += 1
                    self._lay()
                changes = difference(desired, self._dump())
                changes.skip(refused)
                count += changes.count
                self._commit(changes)
                self._forgetful |= set(self._affinity)
                self._prune()
                return count
            except BatchError as error:
                # What the kernel refuses after a comparison is wrong in itself: the others must not wait for it.
                log.error("repair refused", family=self.layout.family, error=str(error))
                last = error
                refused |= {(wrong.operation.rsplit(" ", 1)[1], wrong.key) for wrong in error.errors if wrong.key}
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINTR):
                    raise
                last = error
                self._rules = {}
        raise ProxyError(f"family {self.layout.family}: {last}") from last

    def _dump(self) -> dict[str, dict[bytes, bytes]]:
        return {name: self._connection.dump(spec) for name, spec in self.layout.sets.items()}

    def _lay(self) -> None:
        """Make the constant part and the chains be as they should; elements stay."""
        text = self.layout.text(self._settings)
        try:
            run_sync(text, netns=self._settings.netns)
        except NftablesError as error:
            # An older layout of the same name, or something else's table: it can't be changed in place.
            log.warning("table does not fit, making it anew", family=self.layout.family, error=str(error))
            family = "ip6" if self.layout.length == 16 else "ip"
            run_sync(
                f"add table {family} {self.layout.table}\ndelete table {family} {self.layout.table}\n{text}", netns=self._settings.netns
            )
        batch = Batch()
        chains = self._connection.chains(self.layout.family, self.layout.table)
        for name in [*RAW_CHAINS, *sorted(self._chains)]:
            self.layout.fill_chain(batch, name, self.layout.rules(name))
        for identity, (seconds, _) in self._affinity.items():
            self.layout.add_affinity(batch, identity, seconds)
        for name in chains - self._chains - set(self.layout.chains):
            self._adopt(batch, name)
        self._connection.commit(batch)
        self._made = set(self._chains)
        self._made_affinity |= {identity: seconds for identity, (seconds, _) in self._affinity.items()}
        self._rules = self._connection.rules(self.layout.family, self.layout.table)

    def _adopt(self, batch: Batch, name: str) -> None:
        """Take over a chain of an earlier process: it may lead somewhere until its elements are gone."""
        if name.startswith("sticky-"):
            identity = name.removeprefix("sticky-")
            if identity not in self._affinity:
                self._made_affinity.setdefault(identity, 0)
