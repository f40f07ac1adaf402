"""nf_tables: constant rules as text through libnftables, everything that changes often as raw nfnetlink batches.

Here live the wire format (`wire`, `expressions`, `batch`: sans-I/O), the socket that commits and dumps (`connection`), the
listener for foreign changes (`monitor`), the difference of two states (`changes`) and the ctypes binding (`library`). No
table, chain or rule of any component may live here: callers bring them.
Data: text or packed keys in, transactions out; dumps and notifications back.
"""

from .batch import Batch, ChainSpec, SetSpec
from .connection import Connection, connect
from .library import NftablesError, run, run_sync
from .monitor import Change, Monitor
from .wire import BatchError, ElementError, goto, verdict

__all__ = [
    "Batch", "BatchError", "ChainSpec", "Change", "Connection", "ElementError", "Monitor", "NftablesError", "SetSpec",
    "connect", "goto", "run", "run_sync", "verdict",
]  # fmt: skip
