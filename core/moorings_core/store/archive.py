"""A backup: every object at one revision, with the keys and certificates that they need, in one tar file.

`backup.json` says what it is; `objects` holds a length, key, revision and value for each object, as stored: what is encrypted stays so.
A restored store goes on with greater revisions, so whoever watched the old one lists anew.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from moorings_core import durable
from moorings_core.ports.store import Page, Record, Store, StoreError, StoreEvent

FORMAT, KEYS = "moorings-backup/1", "pki"
MARGIN = 1_000_000
"""Revisions that the lost part of the history may have used"""
CHUNK = 2000
_HEAD = struct.Struct(">IQI")


class BadBackup(StoreError):
    """The file is no whole backup."""

    exit_code = 2


class NotEmpty(StoreError):
    """There is something already where a backup was to be restored."""

    exit_code = 2


def save(page: Page, keys: Path, path: Path) -> None:
    """Write a backup durably to path, which is whole or as before, and readable by its owner only. See `write`."""
    with durable.replacing(path) as file:
        write(page, keys, file)


def write(page: Page, keys: Path, file: IO[bytes]) -> None:
    """Write a backup of a store's whole content and of the files in the directory keys."""
    objects = b"".join(_packed(record) for record in page.records)
    about = {
        "format": FORMAT,
        "revision": page.revision,
        "objects": len(page.records),
        "sha256": hashlib.sha256(objects).hexdigest(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=3) as archive:
        _add(archive, "backup.json", orjson.dumps(about, option=orjson.OPT_INDENT_2))
        _add(archive, "objects", objects)
        for path in sorted(keys.rglob("*")):
            if path.is_file():
                _add(archive, f"{KEYS}/{path.relative_to(keys)}", path.read_bytes())


def read(file: IO[bytes]) -> tuple[dict[str, Any], list[StoreEvent], dict[str, bytes]]:
    """Return (what the backup says of itself, objects by revision, key files by path). Raises BadBackup."""
    try:
        with tarfile.open(fileobj=file, mode="r:gz") as archive:
            parts = {member.name: _content(archive, member) for member in archive if member.isfile()}
        about: dict[str, Any] = orjson.loads(parts.pop("backup.json"))
        objects = parts.pop("objects")
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError) as error:
        raise BadBackup(f"this is no whole backup: {error}") from error
    if about.get("format") != FORMAT:
        raise BadBackup(f"this is a backup of the format {about.get('format')!r}, not {FORMAT}")
    if hashlib.sha256(objects).hexdigest() != about["sha256"]:
        raise BadBackup("the backup is damaged: its objects do not have the checksum that they were written with")
    keys = {name.removeprefix(f"{KEYS}/"): content for name, content in parts.items() if name.startswith(f"{KEYS}/")}
    if wrong := [name for name in keys if Path(name).is_absolute() or ".." in Path(name).parts]:
        raise BadBackup(f"the backup wants to write outside its directory: {wrong[0]}")
    return about, sorted(_unpacked(objects), key=lambda event: event.revision), keys


async def restore(about: dict[str, Any], objects: Sequence[StoreEvent], store: Store) -> None:
    """Put the objects of a backup into an empty store. Raises NotEmpty, StoreUnavailable."""
    if (await store.list("", limit=1)).records:
        raise NotEmpty("there are objects in this store already: restore into an empty one")
    for start in range(0, len(objects), CHUNK):
        await store.receive(objects[start : start + CHUNK])
    await store.continue_from(about["revision"] + MARGIN)


def _packed(record: Record) -> bytes:
    key = record.key.encode()
    return _HEAD.pack(len(key), record.revision, len(record.value)) + key + record.value


def _unpacked(data: bytes) -> Iterator[StoreEvent]:
    at = 0
    while at < len(data):
        key, revision, value = _HEAD.unpack_from(data, at)
        start = at + _HEAD.size
        yield StoreEvent(data[start : start + key].decode(), data[start + key : start + key + value], revision)
        at = start + key + value


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
    archive.addfile(member, io.BytesIO(content))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    found = archive.extractfile(member)
    return found.read() if found else b""
