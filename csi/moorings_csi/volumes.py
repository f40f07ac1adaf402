"""Volumes: requests and names become records, records become data in a pool. Every step is in the journal before it is taken."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from uuid import uuid4

from moorings_core.log import get_logger

from . import filesystem
from .errors import AttachLimit, InvalidRequest, NameTaken, NoSuchSnapshot, NoSuchVolume, SizeOutOfRange, WrongState
from .faults import point
from .ledger import Ledger, exclusive, id_of
from .pool import Features, VolumeRequest
from .records import FormatRecord, Record, SnapshotRecord, VolumeRecord

log = get_logger(__name__)
DEFAULT_SIZE = 1 << 30
ROUND_TO = 1 << 20


class Volumes:
    """The volumes of one pool. Callers hold a volume's lock for the length of a call."""

    def __init__(self, ledger: Ledger, features: Features, *, thin: bool = False, attach_limit: int = 0) -> None:
        self._ledger, self._features, self._thin, self._attach_limit = ledger, features, thin, attach_limit
        self._pool = ledger.pool

    @exclusive
    def recover(self) -> None:
        """Roll back unfinished creations, finish deletions and expansions, put aside data that no record knows."""
        self._pool.thaw([v for v in self._ledger.volumes if v.state == "ready"])
        for record in self._ledger.volumes:
            if record.state != "ready":
                log.info("volume recovered", volume=record.id, state=record.state)
                self._remove(record)
            elif record.target:
                self._grow(record)

    @exclusive
    def put_strays_aside(self) -> None:
        """Keep data of no volume and no snapshot for a human."""
        self._pool.tidy()
        known = {r.data for r in (*self._ledger.volumes, *self._ledger.snapshots)}
        for name in self._pool.stored():
            if name not in known:
                log.warning("data of no volume put aside", data=name)
                self._pool.put_aside(name)

    @exclusive
    def create(self, request: VolumeRequest) -> VolumeRecord:
        """Make a volume, or return the one that the same request made."""
        volume_id = id_of("vol", request.name)
        thin = self._thin if request.thin is None else request.thin
        digest = f"{request.required}/{request.limit}/{request.fs_type}/{thin}/{request.block}/{request.source}"
        known = self._ledger.volumes.get(volume_id)
        if known is not None and known.state == "ready":
            return _same(known, digest, request)
        if known is not None:
            self._remove(known)  # what an earlier call could neither finish nor undo
        source = self._source(request.source)
        fs_type = _fs_type(request, source, self._pool.default_fs_type())
        size = self._size(request, fs_type, source)
        data = f"{volume_id}-{uuid4()}"
        draft = VolumeRecord(volume_id, request.name, size, fs_type, thin, digest, data, block=request.block, source=request.source)
        draft = replace(draft, parameters=dict(request.parameters or {}))
        with self._ledger.admission:
            if not thin:
                self._ledger.admit(size)
            record = self._ledger.volumes.put(draft)
        point("create.recorded")
        try:
            return self._make(record, source)
        except BaseException:
            self._remove(record)
            raise

    @exclusive
    def delete(self, volume_id: str) -> None:
        """Remove a volume; capacity counts as free only once the loop device has let go of the file."""
        record = self._ledger.volumes.get(volume_id)
        if record is None:
            return
        if record.published:
            raise WrongState(f"{volume_id} is published on {', '.join(record.published)}")
        if not self._pool.detach(record):
            raise WrongState(f"{volume_id} is in use: its loop device is still open")
        self._ledger.volumes.put(replace(record, state="deleting"))
        point("delete.recorded")
        self._remove(record)
        point("delete.forgotten")

    def get(self, volume_id: str) -> VolumeRecord:
        """Return a volume. Raises NoSuchVolume."""
        record = self._ledger.volumes.get(volume_id)
        if record is None or record.state != "ready":
            raise NoSuchVolume(f"no volume {volume_id!r}")
        return record

    def list(self) -> Sequence[VolumeRecord]:
        """Return the volumes that are ready, by id."""
        return sorted((r for r in self._ledger.volumes if r.state == "ready"), key=lambda r: r.id)

    def available(self) -> int:
        """Return the bytes that can still be promised."""
        with self._ledger.admission:
            return self._ledger.available()

    @exclusive
    def expand(self, volume_id: str, required: int, limit: int) -> VolumeRecord:
        """Let a volume hold at least `required` bytes; one that does is left as it is."""
        record = self.get(volume_id)
        size = -(-required // ROUND_TO) * ROUND_TO
        if limit and (required > limit or size > limit):
            raise SizeOutOfRange(f"{size} bytes are more than the limit {limit}")
        if size <= record.size:
            return record
        with self._ledger.admission:
            if not record.thin:
                self._ledger.admit(size - record.size)
            record = self._ledger.volumes.put(replace(record, target=size))
        point("expand.recorded")
        try:
            return self._grow(record)
        except BaseException:
            self._ledger.volumes.put(replace(record, target=0))
            raise

    def stored(self) -> frozenset[str]:
        """Return the names of all data in the pool, for `condition` of many volumes."""
        return frozenset(self._pool.stored())

    @exclusive
    def modify(self, volume_id: str, parameters: Mapping[str, str]) -> VolumeRecord:
        """Change a volume's mutable parameters."""
        record = self.get(volume_id)
        record = self._ledger.volumes.put(replace(record, parameters={**record.parameters, **parameters}))
        point("modify.recorded")
        self._pool.modify(record)
        point("modify.applied")
        return record

    @exclusive
    def publish(self, volume_id: str, node: str, *, read_only: bool, exclusive: bool) -> None:
        """Let a node have a volume. Raises NameTaken, WrongState (naming the node that has it), AttachLimit."""
        record = self.get(volume_id)
        if node in record.published:
            if record.published[node] != read_only:
                raise NameTaken(f"{volume_id} is published on {node} with other options")
            return
        if exclusive and record.published:
            raise WrongState(f"{volume_id} is published on {', '.join(record.published)} already")
        with self._ledger.admission:
            if self._attach_limit and sum(node in v.published for v in self._ledger.volumes) >= self._attach_limit:
                raise AttachLimit(f"{node} has {self._attach_limit} volumes, as many as it may")
            self._ledger.volumes.put(replace(record, published={**record.published, node: read_only}))
        point("attach.recorded")

    @exclusive
    def unpublish(self, volume_id: str, node: str) -> None:
        """Take a volume from a node, or from all for ""."""
        record = self._ledger.volumes.get(volume_id)
        if record is None or not record.published:
            return
        rest = {n: mode for n, mode in record.published.items() if node and n != node}
        if rest != record.published:
            self._ledger.volumes.put(replace(record, published=rest))
            point("detach.recorded")

    def condition(self, record: VolumeRecord, stored: Collection[str] | None = None) -> str:
        """Return what is wrong with a volume, or ""; stored: what is in the pool, where the caller knows it."""
        if record.data not in (self._pool.stored() if stored is None else stored):
            return "the volume's data is missing from the pool"
        space = self._pool.space()
        unwritten = sum(v.size for v in self._ledger.volumes if v.thin)
        if record.thin and space.free < min(unwritten, space.total // 20):
            return f"the pool has {space.free} bytes left and the volume is thin: writes will fail; free space or grow the pool"
        return ""

    def _make(self, record: VolumeRecord, source: Record | None) -> VolumeRecord:
        with self._pool.quiet([source]) if isinstance(source, VolumeRecord) else nullcontext():
            formatted = self._pool.create(record, source)
        point("create.data")
        fs_size = record.size if formatted else self._format_of(source)
        if fs_size:
            self._ledger.formats.put(FormatRecord(record.id, "formatted", fs_size))
        point("create.format")
        record = self._ledger.volumes.put(replace(record, state="ready"))
        point("create.ready")
        return record

    def _format_of(self, source: Record | None) -> int:
        """Return the size of the file system that came with a copy, 0 where there is none."""
        if isinstance(source, SnapshotRecord):
            return source.fs_size if source.formatted else 0
        known = self._ledger.formats.get(source.id) if source is not None else None
        return known.size if known is not None and known.state == "formatted" else 0

    def _grow(self, record: VolumeRecord) -> VolumeRecord:
        self._pool.resize(record, record.target)
        point("expand.data")
        record = self._ledger.volumes.put(replace(record, size=record.target, target=0))
        point("expand.done")
        return record

    def _source(self, source: str) -> Record | None:
        kind, _, name = source.partition(":")
        if kind == "snapshot":
            found = self._ledger.snapshots.get(name)
            if found is None or found.state != "ready":
                raise NoSuchSnapshot(f"no snapshot {name!r}")
            return found
        return self.get(name) if kind == "volume" else None

    def _size(self, request: VolumeRequest, fs_type: str, source: Record | None) -> int:
        if request.limit and request.required > request.limit:
            raise SizeOutOfRange(f"required {request.required} is more than the limit {request.limit}")
        default = source.size if source is not None else min(DEFAULT_SIZE, request.limit or DEFAULT_SIZE)
        wanted = max(request.required or default, self._pool.smallest(fs_type, block=request.block))
        size = -(-wanted // ROUND_TO) * ROUND_TO
        if source is not None and size < source.size:
            raise SizeOutOfRange(f"{size} bytes are less than the {source.size} of {source.id}")
        if request.limit and size > request.limit:
            raise SizeOutOfRange(f"volumes of this kind have at least {size} bytes, the limit is {request.limit}")
        return size

    def _remove(self, record: VolumeRecord) -> None:
        self._pool.remove(record)
        point("delete.data")
        self._ledger.formats.drop(record.id)
        self._ledger.volumes.drop(record.id)


def _fs_type(request: VolumeRequest, source: Record | None, default: str) -> str:
    if source is None:
        fs_type = request.fs_type or default
        if not request.block and fs_type and fs_type not in filesystem.MKFS:
            raise InvalidRequest(f"unknown file system {fs_type!r}; known: {', '.join(filesystem.MKFS)}")
        return fs_type
    if source.block != request.block:
        raise InvalidRequest(f"{source.id} is a {'block' if source.block else 'file system'} volume and cannot become the other")
    if request.fs_type not in ("", source.fs_type):
        raise InvalidRequest(f"{source.id} holds {source.fs_type}, not {request.fs_type}")
    return source.fs_type


def _same(known: VolumeRecord, digest: str, request: VolumeRequest) -> VolumeRecord:
    if known.digest != digest:
        raise NameTaken(f"{request.name!r} is a volume of {known.size} bytes made for another request")
    return known
