"""Objects and patches in the expressions of mutations: `Object.spec{replicas: 1}` and `JSONPatch{op: "add"}` as plain maps.

Upstream makes types of their own for them, whose fields are named by identifiers; a map whose keys are texts is the same value.
"""

from __future__ import annotations

import json
import re

_TOKEN = re.compile(
    r"""(?P<text>[rRbB]{0,2}(?:\"\"\".*?\"\"\"|'''.*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))"""
    r"|(?P<comment>//[^\n]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<space>\s+)|(?P<other>.)",
    re.DOTALL,
)
_TYPES = ("Object", "JSONPatch")
_ESCAPED = {"__underscores__": "__", "__dot__": ".", "__dash__": "-", "__slash__": "/"}


def as_maps(expression: str) -> str:
    """Return an expression with its objects and patches written as maps."""
    tokens = list(_TOKEN.finditer(expression))
    written: list[str] = []
    braces: list[bool] = []
    """For each open bracket, whether names before colons in it are fields"""
    position = 0
    while position < len(tokens):
        token = tokens[position][0]
        end = _literal(tokens, position)
        if end:
            written.append("{")
            braces.append(True)
            position = end
            continue
        if token in "([{":
            braces.append(False)
        elif token in ")]}" and braces:
            braces.pop()
        is_field = tokens[position].lastgroup == "name" and braces and braces[-1] and _begins(written) and _next(tokens, position) == ":"
        written.append(json.dumps(_unescaped(token)) if is_field else token)
        position += 1
    return "".join(written)


def _literal(tokens: list[re.Match[str]], position: int) -> int:
    """Return where the braces of an object's or patch's literal begin to hold fields, or 0 where there is none."""
    if tokens[position][0] not in _TYPES or (position and tokens[position - 1][0] == "."):
        return 0
    at = position + 1
    while at + 1 < len(tokens) and tokens[at][0] == "." and tokens[at + 1].lastgroup == "name":
        at += 2
    while at < len(tokens) and tokens[at].lastgroup == "space":
        at += 1
    return at + 1 if at < len(tokens) and tokens[at][0] == "{" else 0


def _begins(written: list[str]) -> bool:
    """Whether what comes next begins a field: it follows the brace or a comma, and maybe the mark of an optional one."""
    before = [text for text in written[-8:] if text.strip() and not text.startswith("//")]
    if before and before[-1] == "?":
        before.pop()
    return bool(before) and before[-1] in ("{", ",")


def _next(tokens: list[re.Match[str]], position: int) -> str:
    rest = (t[0] for t in tokens[position + 1 :] if t.lastgroup not in ("space", "comment"))
    return next(rest, "")


def _unescaped(name: str) -> str:
    """Return the field that an identifier stands for."""
    if match := re.fullmatch(r"__([a-z]+)__", name):
        return match[1] if name not in _ESCAPED else _ESCAPED[name]
    return re.sub("|".join(_ESCAPED), lambda m: _ESCAPED[m[0]], name)
