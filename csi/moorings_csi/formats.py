"""File systems on volumes: made once in a volume's life; the journal, not the device, says whether that was done."""

from __future__ import annotations

from pathlib import Path

from . import filesystem
from .errors import WrongState
from .faults import point
from .journal import Journal
from .records import FormatRecord, VolumeRecord


class Formats:
    """What is known of the file systems of volumes."""

    def __init__(self, journal: Journal[FormatRecord]) -> None:
        self._journal = journal

    def prepare(self, record: VolumeRecord, device: Path) -> FormatRecord:
        """Make the file system if none was ever made. Raises WrongState where something foreign is on the device."""
        known = self._journal.get(record.id)
        if known is not None and known.state == "formatted":
            return known
        if known is None and not filesystem.is_blank(device):
            raise WrongState(f"{record.id} was never formatted, yet there is data on it; refusing to overwrite it")
        self._journal.put(FormatRecord(record.id, "formatting", record.size))
        point("format.recorded")
        filesystem.make(record.fs_type, device)
        point("format.made")
        made = self._journal.put(FormatRecord(record.id, "formatted", record.size))
        point("format.done")
        return made

    def grown(self, record: VolumeRecord) -> None:
        """Take note that the file system fills the volume."""
        self._journal.put(FormatRecord(record.id, "formatted", record.size))

    def size(self, record: VolumeRecord) -> int:
        """Return the bytes that the file system was made or grown to."""
        known = self._journal.get(record.id)
        return known.size if known is not None else 0
