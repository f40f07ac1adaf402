"""What expressions may use: variables, the language's extensions and Kubernetes' functions."""

from __future__ import annotations

import functools
import json
from typing import Any

from cel_expr_python import cel
from google.protobuf import any_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2

from . import library
from .library.declare import OPAQUE, declared, describe

EXTENSIONS = ("cel.lib.ext.comprev2", "sets", "optional", "bindings", "encoders", "math", "lists")
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
    implementations = {overload.id: overload.run for overload in declared}
    return cel.NewEnv(pool, config=_config(), variables=variables, function_impls=implementations)


@functools.cache
def _config() -> Any:
    names = list(dict.fromkeys(overload.name for overload in declared))
    functions = [{"name": name, "overloads": [_overload(o) for o in declared if o.name == name]} for name in names]
    document = {"name": "kubernetes", "extensions": [{"name": name} for name in EXTENSIONS], "functions": functions}
    return cel.NewEnvConfigFromYaml(json.dumps(document))


def _overload(overload: Any) -> dict[str, Any]:
    parameters = [_described(text.split()) for text in overload.parameters]
    made: dict[str, Any] = {"id": overload.id, "return": _described(overload.gives.split())}
    if overload.receiver:
        made["target"], parameters = parameters[0], parameters[1:]
    if parameters:
        made["args"] = parameters
    return made


def _described(words: list[str]) -> dict[str, Any]:
    """Return a type in the words of cel's environment files: `map string list string` has two parameters."""
    match words:
        case ["list", *rest]:
            return {"type_name": "list", "params": [_described(rest)]}
        case ["map", key, *rest]:
            return {"type_name": "map", "params": [{"type_name": key}, _described(rest)]}
    return {"type_name": words[0]}


def _type(text: str) -> Any:
    plain = {"dyn": cel.Type.DYN, "bool": cel.Type.BOOL, "int": cel.Type.INT, "string": cel.Type.STRING}
    if text in plain:
        return plain[text]
    if text not in OPAQUE:
        raise ValueError(f"no type {text!r} for a variable")
    return cel.Type(text)
