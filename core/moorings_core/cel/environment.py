"""What expressions may use: variables, the language's extensions and Kubernetes' functions."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

from cel_expr_python import cel
from google.protobuf import any_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2

from . import library
from .library.declare import OPAQUE, declared, describe
from .meter import metered

CHECKED = ("cel.lib.ext.comprev2", "sets", "optional", "lists")
"""Extensions that clients may use"""
EXTENSIONS = (*CHECKED, "bindings", "encoders", "math")
_ORDER = {"_<_": "less", "_<=_": "less_equals", "_>_": "greater", "_>=_": "greater_equals"}
_NUMBERS = {"int": "int64", "uint": "uint64", "double": "double"}
_ORDERED = _NUMBERS | {name: name for name in ("bool", "string", "bytes", "timestamp", "duration")}
Described = dict[str, Any]
"""A type in the words of cel's environment files: `map string list string` has two parameters"""
_WELL_KNOWN = (struct_pb2, timestamp_pb2, duration_pb2, any_pb2, wrappers_pb2)
assert library


def new_pool() -> descriptor_pool.DescriptorPool:
    """Return a pool with the well-known types and Kubernetes' own."""
    pool = descriptor_pool.DescriptorPool()
    for module in _WELL_KNOWN:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    describe(pool)
    return pool


@functools.lru_cache(maxsize=256)
def environment(variables: tuple[tuple[str, str], ...]) -> Any:
    """Return an environment for variables of types that are named in CEL."""
    return build(new_pool(), {name: _type(text) for name, text in variables})


def build(pool: descriptor_pool.DescriptorPool, variables: dict[str, Any]) -> Any:
    """Return an environment over a pool of message types."""
    implementations = {overload.id: metered(overload) for overload in declared}
    return cel.NewEnv(pool, config=_config(), variables=variables, function_impls=implementations)


def checking(pool: descriptor_pool.DescriptorPool, variables: dict[str, Described], extensions: Sequence[str] = ()) -> Any:
    """Return an environment that only checks: it knows what clients may use, and orders numbers of different types.

    extensions: further ones.
    """
    config = {
        "name": "checking",
        "stdlib": {"exclude_functions": [{"name": name} for name in _ORDER]},
        "extensions": [{"name": name} for name in (*CHECKED, *extensions)],
        "functions": [*_functions(), *_comparisons()],
        "variables": [{"name": name, **kind} for name, kind in variables.items()],
    }
    return cel.NewEnv(pool, config=cel.NewEnvConfigFromYaml(json.dumps(config)))


@functools.cache
def _comparisons() -> list[dict[str, Any]]:
    """Return the operators that order values; the library's own order a number only among those of its type."""
    mixed = [(a, b) for a in _NUMBERS for b in _NUMBERS if a != b]
    made = []
    for operator, word in _ORDER.items():
        overloads = [_order(f"{word}_{name}", kind, kind) for kind, name in _ORDERED.items()]
        overloads += [_order(f"{word}_{_NUMBERS[a]}_{_NUMBERS[b]}", a, b) for a, b in mixed]
        made.append({"name": operator, "overloads": overloads})
    return made


def _order(name: str, left: str, right: str) -> dict[str, Any]:
    return {"id": name, "args": [described(left), described(right)], "return": described("bool")}


@functools.cache
def _config() -> Any:
    document = {"name": "kubernetes", "extensions": [{"name": name} for name in EXTENSIONS], "functions": _functions()}
    return cel.NewEnvConfigFromYaml(json.dumps(document))


@functools.cache
def _functions() -> list[dict[str, Any]]:
    names = list(dict.fromkeys(overload.name for overload in declared))
    return [{"name": name, "overloads": [_overload(o) for o in declared if o.name == name]} for name in names]


def _overload(overload: Any) -> dict[str, Any]:
    parameters = [_words(text.split()) for text in overload.parameters]
    made: dict[str, Any] = {"id": overload.id, "return": _words(overload.gives.split())}
    if overload.receiver:
        made["target"], parameters = parameters[0], parameters[1:]
    if parameters:
        made["args"] = parameters
    return made


def _words(words: list[str]) -> Described:
    match words:
        case ["list", *rest]:
            return described("list", _words(rest))
        case ["map", key, *rest]:
            return described("map", described(key), _words(rest))
    return described(words[0])


def described(name: str, *parameters: Described) -> Described:
    """Return a type of this name with these parameters."""
    return {"type_name": name, "params": list(parameters)} if parameters else {"type_name": name}


def _type(text: str) -> Any:
    plain = {"dyn": cel.Type.DYN, "bool": cel.Type.BOOL, "int": cel.Type.INT, "string": cel.Type.STRING}
    if text in plain:
        return plain[text]
    if text not in OPAQUE:
        raise ValueError(f"no type {text!r} for a variable")
    return cel.Type(text)
