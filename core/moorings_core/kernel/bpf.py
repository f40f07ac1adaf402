"""Programs on cgroups and their maps, kept by names in the BPF file system: they work on when the process that loaded them ends.

libbpf by ctypes: it is there wherever iproute2 is, and reads what clang writes. Calls do not wait; many elements take one call.
Source: bpf(2), libbpf's bpf.h and libbpf.h, linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from moorings_core.ports.errors import MooringsError

from .mounts import mount, mount_table

FILE_SYSTEM = Path("/sys/fs/bpf")
CHUNK = 4096
"""Elements in one call: buffers stay small."""
_INFO_BYTES = 256
_LINK_CGROUP = struct.Struct("=IIIIQI")
"""The start of bpf_link_info of a link on a cgroup: type, id, program's id, padding, cgroup's id, kind of hook."""


class BpfError(MooringsError):
    """The kernel or libbpf refused; the message says what."""


@dataclass(frozen=True, slots=True)
class Map:
    """A map in the kernel, by its descriptor; sizes are bytes. Closing it leaves a pinned map where it is."""

    fd: int
    key_size: int
    value_size: int

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

    def items(self) -> dict[bytes, bytes]:
        """Return every element; of a map that changes meanwhile, those that stayed and perhaps others. Raises OSError."""
        found: dict[bytes, bytes] = {}
        at, to = (ctypes.create_string_buffer(max(self.key_size, 8)) for _ in range(2))
        first, room = True, CHUNK
        while True:
            keys, values = (ctypes.create_string_buffer(room * size) for size in (self.key_size, self.value_size))
            number = ctypes.c_uint32(room)
            failed = -_library().bpf_map_lookup_batch(self.fd, None if first else at, to, keys, values, ctypes.byref(number), None)
            if failed == errno.ENOSPC:  # a bucket of the hash table holds more than fits
                room *= 2
                continue
            if failed and failed != errno.ENOENT:
                raise OSError(failed, os.strerror(failed), "reading a map")
            found.update(zip(_cut(keys.raw, self.key_size, number.value), _cut(values.raw, self.value_size, number.value), strict=True))
            if failed:
                return found
            at, to, first = to, at, False

    def get(self, key: bytes) -> bytes | None:
        """Return an element's value."""
        value = ctypes.create_string_buffer(self.value_size)
        return value.raw if _library().bpf_map_lookup_elem(self.fd, key, value) == 0 else None

    def update(self, elements: Mapping[bytes, bytes]) -> None:
        """Add or replace elements, each at once; those before one that is refused stay. Raises OSError (E2BIG: the map is full)."""
        whole = list(elements.items())
        for start in range(0, len(whole), CHUNK):
            piece = whole[start : start + CHUNK]
            number = ctypes.c_uint32(len(piece))
            keys, values = b"".join(key for key, _ in piece), b"".join(value for _, value in piece)
            failed = -_library().bpf_map_update_batch(self.fd, keys, values, ctypes.byref(number), None)
            if failed:
                raise OSError(failed, os.strerror(failed), "writing a map")

    def delete(self, keys: Collection[bytes]) -> None:
        """Delete elements; those that are not there are passed over. Raises OSError."""
        for key in keys:
            failed = -_library().bpf_map_delete_elem(self.fd, key)
            if failed not in (0, errno.ENOENT):
                raise OSError(failed, os.strerror(failed), "deleting from a map")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an object file has, in the kernel and not yet pinned: maps by name, programs by name with the kind of hook they are for."""

    maps: Mapping[str, int]
    programs: Mapping[str, tuple[int, int]]


@contextmanager
def load(data: bytes) -> Iterator[Loaded]:
    """Load an object file as clang makes them; what has been pinned at the end of the block stays. Raises BpfError."""
    library = _library()
    with ExitStack() as opened:
        handle = library.bpf_object__open_mem(data, len(data), None)
        if not handle:
            raise BpfError(f"libbpf can't read the object: {os.strerror(ctypes.get_errno())}")
        opened.callback(library.bpf_object__close, handle)
        failed = -library.bpf_object__load(handle)
        if failed:
            raise BpfError(f"the kernel does not take the programs: {os.strerror(failed)}")
        maps, programs = {}, {}
        each = None
        while each := library.bpf_object__next_map(handle, each):
            maps[library.bpf_map__name(each).decode()] = library.bpf_map__fd(each)
        while each := library.bpf_object__next_program(handle, each):
            name = library.bpf_program__name(each).decode()
            programs[name] = library.bpf_program__fd(each), library.bpf_program__expected_attach_type(each)
        yield Loaded(maps, programs)


def pin(fd: int, path: Path) -> None:
    """Keep a map, program or link under a name. Raises OSError."""
    _check(_library().bpf_obj_pin(fd, str(path).encode()), path)


@contextmanager
def attached(program: int, cgroup: Path, hook: int) -> Iterator[int]:
    """Run a program for what happens below a cgroup of v2, beside others that do; a link that is pinned within the block stays."""
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        link = _check(_library().bpf_link_create(program, directory, hook, None), cgroup)
    finally:
        os.close(directory)
    try:
        yield link
    finally:
        os.close(link)


def open_map(path: Path, key_size: int, value_size: int) -> Map:
    """Return a pinned map. Raises OSError."""
    return Map(_check(_library().bpf_obj_get(str(path).encode()), path), key_size, value_size)


def cgroup_of(link: Path) -> int:
    """Return the id (inode) of the cgroup that a pinned link's program works for, 0 when it was detached. Raises OSError."""
    fd = _check(_library().bpf_obj_get(str(link).encode()), link)
    try:
        info, size = ctypes.create_string_buffer(_INFO_BYTES), ctypes.c_uint32(_INFO_BYTES)
        _check(_library().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size)), link)
        return int(_LINK_CGROUP.unpack_from(info.raw)[4])
    finally:
        os.close(fd)


def detach(link: Path) -> None:
    """Let a pinned link's program work no more, now: without its name it ends at a time of the kernel's choice. Raises OSError."""
    fd = _check(_library().bpf_obj_get(str(link).encode()), link)
    try:
        _check(_library().bpf_link_detach(fd), link)
    finally:
        os.close(fd)


def mount_file_system(where: Path = FILE_SYSTEM) -> None:
    """Mount the BPF file system if it is not there: once, as a second one would hide what is pinned in the first. Raises OSError."""
    directory = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not any(m.path == str(where) and m.fs_type == "bpf" for m in mount_table()):
            mount("bpf", where, "bpf")
    finally:
        os.close(directory)


def cgroups() -> Path | None:
    """Return where cgroups of v2 are mounted, None when nowhere: programs can work for those alone."""
    return next((Path(m.path) for m in mount_table() if m.fs_type == "cgroup2"), None)


def missing() -> str:
    """Return what this machine lacks for programs on cgroups, "" when nothing."""
    try:
        _library()
    except BpfError as error:
        return str(error)
    return "" if cgroups() else "no hierarchy of cgroup v2 is mounted"


def _cut(data: bytes, size: int, count: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, count * size, size)]


def _check(result: int, path: Path) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result), str(path))
    return result


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise BpfError(f"libbpf.so.1 is missing (Debian: apt-get install libbpf1): {error}") from error
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("bpf_object__open_mem", pointer, [text, ctypes.c_size_t, pointer]),
        ("bpf_object__close", None, [pointer]),
        ("bpf_object__load", number, [pointer]),
        ("bpf_object__next_map", pointer, [pointer, pointer]),
        ("bpf_object__next_program", pointer, [pointer, pointer]),
        ("bpf_map__name", text, [pointer]),
        ("bpf_map__fd", number, [pointer]),
        ("bpf_program__name", text, [pointer]),
        ("bpf_program__fd", number, [pointer]),
        ("bpf_program__expected_attach_type", number, [pointer]),
        ("bpf_link_create", number, [number, number, number, pointer]),
        ("bpf_link_detach", number, [number]),
        ("bpf_obj_pin", number, [number, text]),
        ("bpf_obj_get", number, [text]),
        ("bpf_obj_get_info_by_fd", number, [number, pointer, pointer]),
        ("bpf_map_lookup_elem", number, [number, text, pointer]),
        ("bpf_map_delete_elem", number, [number, text]),
        ("bpf_map_update_batch", number, [number, text, text, pointer, pointer]),
        ("bpf_map_lookup_batch", number, [number, pointer, pointer, pointer, pointer, pointer, pointer]),
        ("libbpf_set_print", pointer, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(None)
    return library
