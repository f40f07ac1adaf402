"""Keys of JSON pointers. Source: apiserver pkg/cel/library/jsonpatch.go.

Upstream's `format` library (format.dns1123Label().validate(...)) is not here: its answers are optional values, which the evaluator
takes from no Python function.
"""

from __future__ import annotations

from .declare import function


@function("jsonpatch.escapeKey", "string", gives="string")
def _escape_key(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
