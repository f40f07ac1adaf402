"""The policy table in the kernel: laid, filled, compared, repaired. Blocking for milliseconds; calls come one at a time."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from moorings_core.kernel import nftables
from moorings_core.kernel.nftables import Batch, BatchError, Connection
from moorings_core.kernel.nftables.changes import Changes, difference
from moorings_core.log import get_logger
from moorings_core.ports.network import NetworkError

from . import layout
from .layout import INET, TABLE

log = get_logger(__name__)
Desired = Mapping[str, Mapping[bytes, bytes]]
TRIES = 5


class Table:
    """`inet moorings_policy` of the network namespace in which the first call is made."""

    def __init__(self) -> None:
        self._sets = layout.sets()
        self._open: Connection | None = None
        self._rules: dict[str, tuple[bytes, ...]] = {}
        self._generation = -1

    def close(self) -> None:
        """Close the connection; the table stays: what was denied is denied while nobody looks."""
        if self._open:
            self._open.close()
            self._open = None

    @property
    def _connection(self) -> Connection:
        if self._open is None:
            self._open = nftables.connect()
        return self._open

    @property
    def port(self) -> int:
        """Return whose notices of changes are of one's own: see `nftables.Monitor`."""
        return self._connection.port

    @property
    def laid(self) -> bool:
        """Whether the rules were there when they were last looked at."""
        return bool(self._rules)

    def exists(self) -> bool:
        """Whether the table is there."""
        return TABLE in self._connection.tables(INET)

    def sync(self, desired: Desired) -> int:
        """Make the table hold exactly this, whatever it holds; return how much was different. Raises NetworkError."""
        count = 0
        last: Exception | None = None
        for _ in range(TRIES):
            try:
                if not self._rules or self._rules != self._connection.rules(INET, TABLE):
                    count += 1
                    self._lay()
                actual = {name: self._connection.dump(spec) for name, spec in self._sets.items()}
                changes = difference(desired, actual)
                for name in {name for name in (*changes.add, *changes.delete) if layout.is_whole(name)}:
                    layout.rewrite(changes, name, desired.get(name, {}), actual.get(name, {}))
                count += changes.count
                self._commit(changes)
                self._generation = self._connection.generation()
                return count
            except (BatchError, OSError) as error:
                if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.EINTR):
                    raise
                last, self._rules = error, {}
        raise NetworkError(f"nftables refuses the network policies: {last}") from last

    def change(self, changes: Changes) -> None:
        """Take in changes: one transaction. Raises BatchError (nothing of it took effect), OSError."""
        if changes:
            self._commit(changes)

    def changed(self) -> bool:
        """Whether anybody has changed any table since the last time that this was asked or `sync` was done."""
        before, self._generation = self._generation, self._connection.generation()
        return self._generation != before

    def counters(self) -> dict[str, dict[bytes, tuple[int, int]]]:
        """Return set -> key -> (packets, bytes) of all that counts; nothing while there is no table."""
        if not self.exists():
            return {}
        counting = (name for name in self._sets if "_" in name)
        return {name: self._connection.counters(self._sets[name]) for name in counting}

    def _lay(self) -> None:
        """Make the constant part be as it should; elements stay, and so does what they deny."""
        try:
            nftables.run_sync(layout.text())
        except nftables.NftablesError as error:
            log.warning("policy table does not fit, making it anew", error=str(error).replace("\n", " "))
            try:
                nftables.run_sync(f"add table inet {TABLE}\ndelete table inet {TABLE}\n{layout.text()}")
            except nftables.NftablesError as again:
                raise NetworkError(f"nftables refuses the policy rules: {again}") from again
        self._rules = self._connection.rules(INET, TABLE)

    def _commit(self, changes: Changes) -> None:
        """Commit all in one transaction: between the parts of a change something could be allowed that never was."""
        batch = Batch()
        for name, keys in changes.delete.items():
            if layout.is_whole(name):
                batch.flush_elements(self._sets[name])
            else:
                batch.delete_elements(self._sets[name], keys)
        for name, items in changes.add.items():
            batch.add_elements(self._sets[name], items.items())
        if batch:
            self._connection.commit(batch)
