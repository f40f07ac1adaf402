"""The keys that objects are encrypted with at rest: a file that only its owner can read. The first key writes, all of them read.

The file is JSON: {"keys": [{"id": ..., "key": base64 of 32 bytes}, ...]}. To change keys put a new one in front; what was written
with an older one is readable as long as that stands in the file.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from moorings_core import durable
from moorings_core.ports.errors import MooringsError

KEY_BYTES, ID_BYTES = 32, 4
ID_LETTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.")


class BadKeyring(MooringsError):
    """The file of keys is not what it must be."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A key with the name that stands in every value it has written."""

    id: str
    secret: bytes

    @classmethod
    def new(cls) -> SealingKey:
        """Make a key of the kernel's randomness."""
        return cls(secrets.token_hex(ID_BYTES), AESGCM.generate_key(KEY_BYTES * 8))


class Keyring:
    """The keys of a file, newest first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: dict[str, AESGCM] = {}
        self.current = ""
        self._stamp: tuple[int, int] | None = None

    @classmethod
    def load_or_create(cls, path: Path) -> Keyring:
        """Load the keys of a file, or make it with one. Raises BadKeyring."""
        if not path.exists():
            _write(path, [SealingKey.new()])
        ring = cls(path)
        ring.reload()
        return ring

    def reload(self) -> bool:
        """Read the file again if it has changed; return whether it has. Raises BadKeyring, and keeps the keys it had."""
        try:
            found = self.path.stat()
        except OSError as error:
            raise BadKeyring(f"{self.path}: {error.strerror}") from error
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp == self._stamp:
            return False
        keys = _read(self.path)
        self.keys, self.current, self._stamp = {key.id: AESGCM(key.secret) for key in keys}, keys[0].id, stamp
        return True


def add_key(path: Path) -> str:
    """Put a new key in front of those in the file and return its id. Raises BadKeyring."""
    key = SealingKey.new()
    _write(path, [key, *_read(path)])
    return key.id


def _read(path: Path) -> Sequence[SealingKey]:
    try:
        if path.stat().st_mode & 0o077:
            raise BadKeyring(f"{path}: others than its owner may read it; chmod 600")
        document = json.loads(path.read_bytes())
        keys = [SealingKey(str(entry["id"]), base64.b64decode(entry["key"], validate=True)) for entry in document["keys"]]
    except OSError as error:
        raise BadKeyring(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise BadKeyring(f"{path}: no file of keys: {error!r}") from error
    if not keys:
        raise BadKeyring(f"{path}: there is no key in it")
    for key in keys:
        if len(key.secret) != KEY_BYTES or not key.id or not ID_LETTERS.issuperset(key.id):
            text = f"is not {KEY_BYTES} bytes long, or its id has other than letters, digits, '-', '_' and '.'"
            raise BadKeyring(f"{path}: the key {key.id!r} {text}")
    if len({key.id for key in keys}) < len(keys):
        raise BadKeyring(f"{path}: two keys have one id")
    return keys


def _write(path: Path, keys: Sequence[SealingKey]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    entries = [{"id": key.id, "key": base64.b64encode(key.secret).decode()} for key in keys]
    durable.write(path, json.dumps({"keys": entries}, indent=1).encode() + b"\n")
