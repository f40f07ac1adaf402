"""Snapshots of one volume and of several at one moment. They live on without their volumes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from moorings_core.log import get_logger

from .errors import InvalidRequest, NameTaken, NoSuchSnapshot, NoSuchVolume
from .faults import point
from .ledger import Ledger, exclusive, id_of
from .records import GroupRecord, SnapshotRecord, VolumeRecord

log = get_logger(__name__)


class Snapshots:
    """The snapshots of one pool. Callers hold the locks of the volumes and of the snapshot for the length of a call."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._pool = ledger, ledger.pool

    @exclusive
    def recover(self) -> None:
        """Remove unfinished snapshots and groups, finish deletions."""
        for group in self._ledger.groups:
            if group.state != "ready":
                log.info("group recovered", group=group.id, state=group.state)
                self._remove_group(group)
        for snapshot in self._ledger.snapshots:
            if snapshot.state != "ready":
                log.info("snapshot recovered", snapshot=snapshot.id, state=snapshot.state)
                self._remove(snapshot)

    @exclusive
    def create(self, name: str, volume_id: str) -> SnapshotRecord:
        """Keep what a volume holds now, or return the snapshot that the same request made."""
        known = self._ledger.snapshots.get(id_of("snap", name))
        if known is not None and known.state == "ready":
            if known.volume != volume_id:
                raise NameTaken(f"{name!r} is a snapshot of {known.volume}")
            return known
        if known is not None:
            self._remove(known)
        (made,) = self._take([(name, self._volume(volume_id))], "")
        return made

    @exclusive
    def delete(self, snapshot_id: str) -> None:
        """Remove a snapshot; an unknown one is gone already. One of a group goes with its group."""
        record = self._ledger.snapshots.get(snapshot_id)
        if record is None:
            return
        if record.group:
            raise InvalidRequest(f"{snapshot_id} is part of {record.group} and is deleted with it")
        self._delete(record)

    def get(self, snapshot_id: str) -> SnapshotRecord:
        """Return a snapshot. Raises NoSuchSnapshot."""
        record = self._ledger.snapshots.get(snapshot_id)
        if record is None or record.state != "ready":
            raise NoSuchSnapshot(f"no snapshot {snapshot_id!r}")
        return record

    def list(self) -> Sequence[SnapshotRecord]:
        """Return the snapshots that are ready, by id."""
        return sorted((r for r in self._ledger.snapshots if r.state == "ready"), key=lambda r: r.id)

    @exclusive
    def create_group(self, name: str, volume_ids: Sequence[str]) -> GroupRecord:
        """Keep what several volumes hold at one moment, or return the group that the same request made."""
        group_id = id_of("group", name)
        known = self._ledger.groups.get(group_id)
        if known is not None and known.state == "ready":
            if sorted(known.volumes) != sorted(volume_ids):
                raise NameTaken(f"{name!r} is a group of other volumes: {', '.join(known.volumes)}")
            return known
        if known is not None:
            self._remove_group(known)
        volumes = [self._volume(v) for v in dict.fromkeys(volume_ids)]
        named = [(f"{name}/{v.id}", v) for v in volumes]
        members = [id_of("snap", n) for n, _ in named]
        group = self._ledger.groups.put(GroupRecord(group_id, name, list(volume_ids), members))
        point("group.recorded")
        try:
            made = self._take(named, group_id)
        except BaseException:
            self._remove_group(group)
            raise
        group = self._ledger.groups.put(replace(group, state="ready", created=made[0].created))
        point("group.ready")
        return group

    def get_group(self, group_id: str, snapshot_ids: Sequence[str]) -> GroupRecord:
        """Return a group. Raises NoSuchSnapshot, InvalidRequest where the snapshots are not its own."""
        record = self._ledger.groups.get(group_id)
        if record is None or record.state != "ready":
            raise NoSuchSnapshot(f"no group of snapshots {group_id!r}")
        _check_members(record, snapshot_ids)
        return record

    @exclusive
    def delete_group(self, group_id: str, snapshot_ids: Sequence[str]) -> None:
        """Remove a group and its snapshots; an unknown one is gone already."""
        record = self._ledger.groups.get(group_id)
        if record is None:
            return
        _check_members(record, snapshot_ids)
        record = self._ledger.groups.put(replace(record, state="deleting"))
        point("group.deleting")
        self._remove_group(record)

    def members(self, group: GroupRecord) -> Sequence[SnapshotRecord]:
        """Return the snapshots of a group."""
        return [self.get(snapshot) for snapshot in group.snapshots]

    def _take(self, named: Sequence[tuple[str, VolumeRecord]], group: str) -> Sequence[SnapshotRecord]:
        """Write all records, hold all writers, keep all data, let the writers go, and only then say that it is done."""
        drafts = [self._draft(name, volume, group) for name, volume in named]
        with self._ledger.admission:
            self._ledger.admit(sum(d.promised for d in drafts))
            for draft in drafts:
                self._ledger.snapshots.put(draft)
        point("snapshot.recorded")
        try:
            with self._pool.quiet([volume for _, volume in named]):
                for draft, (_, volume) in zip(drafts, named, strict=True):
                    self._pool.snapshot(volume, draft)
                    point("group.member" if group else "snapshot.data")
        except BaseException:
            for draft in drafts:
                self._remove(draft)
            raise
        now = time.time()
        made = [self._ledger.snapshots.put(replace(draft, state="ready", created=now)) for draft in drafts]
        point("snapshot.ready")
        return made

    def _draft(self, name: str, volume: VolumeRecord, group: str) -> SnapshotRecord:
        snapshot_id, known = id_of("snap", name), self._ledger.formats.get(volume.id)
        formatted = known is not None and known.state == "formatted"
        return SnapshotRecord(
            id=snapshot_id,
            name=name,
            volume=volume.id,
            size=volume.size,
            fs_type=volume.fs_type,
            thin=volume.thin,
            block=volume.block,
            data=f"{snapshot_id}-{uuid4()}",
            formatted=formatted,
            fs_size=known.size if known is not None and formatted else 0,
            group=group,
        )

    def _volume(self, volume_id: str) -> VolumeRecord:
        record = self._ledger.volumes.get(volume_id)
        if record is None or record.state != "ready":
            raise NoSuchVolume(f"no volume {volume_id!r}")
        return record

    def _delete(self, record: SnapshotRecord) -> None:
        self._ledger.snapshots.put(replace(record, state="deleting"))
        point("snapshot.deleting")
        self._remove(record)

    def _remove(self, record: SnapshotRecord) -> None:
        self._pool.remove(record)
        point("snapshot.removed")
        self._ledger.snapshots.drop(record.id)

    def _remove_group(self, group: GroupRecord) -> None:
        for snapshot in group.snapshots:
            record = self._ledger.snapshots.get(snapshot)
            if record is not None:
                self._remove(record)
        self._ledger.groups.drop(group.id)


def _check_members(group: GroupRecord, snapshot_ids: Sequence[str]) -> None:
    if snapshot_ids and sorted(snapshot_ids) != sorted(group.snapshots):
        raise InvalidRequest(f"{group.id} has the snapshots {', '.join(group.snapshots)}, not those that were named")
