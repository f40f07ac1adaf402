"""What an expression costs at least and at most, before there is data: by its tree and by how large values of its schema can be.

One unit is about 50 ns of upstream's evaluator. Estimates are part of the API: they decide which rules a definition may have, so they
follow upstream's to the unit, where that is odd too. Source: cel-go checker/cost.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import calls
from .bounds import Bound
from .calls import Given
from .ranges import LIST, MAP, MESSAGE, NOTHING, SELECT, TRAVERSAL, UNKNOWN, Range, fixed
from .tree import DYNAMIC, Call, Constant, Ident, Listed, Loop, Mapped, Message, Node, Select, Tree, Type

_ACCUMULATORS = ("__result__", "@result")
_SCALAR = ("bool", "double", "duration", "int", "timestamp", "uint")
_WORDS = {"int": "int64", "uint": "uint64"}
_MATCHES = ("matches", "matches_string")
_ADDITIONS = ("add_string", "add_bytes", "add_list")
_COMPARISONS = {"equals", "not_equals"} | {
    f"{word}_{kind}" for word in ("less", "greater", "less_equals", "greater_equals") for kind in ("string", "bytes")
}
_OF_ELEMENTS = ("sum", "min", "max")
"""Functions that give what the list before the dot holds"""
_AS_TARGET = ("reverse", "slice", "distinct", "sort", "@sortByAssociatedKeys")
"""Functions that give such a list as stands before the dot"""


def cost(tree: Tree, bounds: Mapping[str, Bound], *, rooted: bool = False) -> Range:
    """Return what an expression costs whose variables have these bounds; the first is of the object that the expression is about.

    rooted: only paths that begin with a variable lead to a size. Of rules of custom kinds upstream lets others begin at the object.
    """
    return _Estimator(tree, bounds, rooted=rooted).cost(tree.root)


class _Path:
    """The way from a variable to a value. Ways that begin alike share their steps as Go's slices do: upstream's estimates show it."""

    __slots__ = ("_length", "_steps")

    def __init__(self, steps: list[str], length: int) -> None:
        self._steps, self._length = steps, length

    def down(self, step: str) -> _Path:
        """Return the way that goes one step further."""
        room, steps = len(self._steps), self._steps
        if self._length == room:
            steps = steps + [""] * max(room, 1)
        steps[self._length] = step
        return _Path(steps, self._length + 1)

    @property
    def steps(self) -> list[str]:
        """The variable and the steps after it."""
        return self._steps[: self._length]


_NOWHERE = _Path([], 0)


@dataclass(frozen=True, slots=True)
class _Entries:
    """Sizes of what a list or map holds that is written out."""

    kind: str
    key: Range
    value: Range

    def union(self, other: _Entries | None) -> _Entries | None:
        return None if other is None else _Entries(self.kind, self.key.union(other.key), self.value.union(other.value))


@dataclass(frozen=True, slots=True)
class _Local:
    """A variable that the expression itself makes."""

    path: _Path
    size: Range | None = None
    entries: _Entries | None = None


class _Estimator:
    """Walks over one tree."""

    def __init__(self, tree: Tree, bounds: Mapping[str, Bound], *, rooted: bool) -> None:
        self._rooted = rooted
        self._tree, self._bounds, self._first = tree, bounds, next(iter(bounds.values()), None)
        self._paths: dict[int, _Path] = {}
        self._sizes: dict[int, Range] = {}
        self._entries: dict[int, _Entries] = {}
        self._locals: dict[str, list[_Local]] = {}

    def cost(self, node: Node) -> Range:
        """Return what a node costs with everything below it."""
        match node:
            case Ident(name=name):
                local = self._local(name)
                self._paths[node.id] = local.path if local is not None else _Path([name], 1)
                return fixed(SELECT)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case Listed(elements=elements):
                return self._listed(node, elements)
            case Mapped():
                return self._mapped(node)
            case Message(values=values):
                return self._sum(values).plus(fixed(MESSAGE))
            case Loop():
                return self._bind(node) if _is_bind(node) else self._loop(node)
        return Range()

    def _sum(self, nodes: Sequence[Node]) -> Range:
        total = Range()
        for node in nodes:
            total = total.plus(self.cost(node))
        return total

    def _select(self, node: Select) -> Range:
        total = self.cost(node.operand)
        if node.test:
            return total
        if self._type(node.operand).kind in ("map", "struct", "parameter"):
            total = total.plus(fixed(SELECT))
        self._paths[node.id] = self._path(node.operand).down(node.field)
        return total

    def _listed(self, node: Node, elements: Sequence[Node]) -> Range:
        total, sizes = Range(), NOTHING if elements else Range()
        for element in elements:
            total = total.plus(self.cost(element))
            sizes = sizes.union(self._size_or_unknown(element))
        self._entries[node.id] = _Entries("list", fixed(1), sizes)
        return total.plus(fixed(LIST))

    def _mapped(self, node: Mapped) -> Range:
        total, keys, values = Range(), *(2 * (NOTHING if node.entries else Range(),))
        for key, value in node.entries:
            total = total.plus(self.cost(key)).plus(self.cost(value))
            keys, values = keys.union(self._size_or_unknown(key)), values.union(self._size_or_unknown(value))
        self._entries[node.id] = _Entries("map", keys, values)
        return total.plus(fixed(MAP))

    def _bind(self, node: Loop) -> Range:
        total = self.cost(node.over).plus(self.cost(node.start))
        self._push_value(node.result_variable, node.start)
        total = total.plus(self.cost(node.result))
        self._locals[node.result_variable].pop()
        self._copy(node, node.result)
        return total

    def _loop(self, node: Loop) -> Range:
        total = self.cost(node.over).plus(self.cost(node.start))
        self._push_value(node.result_variable, node.start)
        if node.second:
            self._push_part(node.variable, node.over, "key")
            self._push_part(node.second, node.over, "value")
        else:
            self._push_part(node.variable, node.over, "single")
        each = self.cost(node.condition)
        each = self.cost(node.step).plus(each)
        for name in (node.variable, node.second):
            if name:
                self._locals[name].pop()
        total = total.plus(self.cost(node.result))
        self._locals[node.result_variable].pop()
        count = self._size_or_unknown(node.over)
        self._set_loop_size(node, count)
        return total.plus(count.times(each))

    def _set_loop_size(self, node: Loop, count: Range) -> None:
        match node.start:
            case Constant():
                self._set_size(node, self._size(node.start))
            case Listed() | Mapped():
                self._sizes[node.id] = count
                entries = self._entries_of(node.step)
                if entries is not None:
                    self._entries[node.id] = entries

    def _push_value(self, name: str, node: Node) -> None:
        path = self._path(node)
        entries = self._entries_of(node)
        self._locals.setdefault(name, []).append(_Local(path, self._size(node), entries))

    def _push_part(self, name: str, over: Node, which: str) -> None:
        """Make the variable of a loop: what it walks over holds it as key, as value, or as what a loop of one variable is given."""
        entries, path = self._entries_of(over), self._path(over)
        is_list = (entries.kind if entries is not None else self._type(over).kind) == "list"
        is_value = which == "value" or (which == "single" and is_list)
        size = None if entries is None else entries.value if is_value else entries.key
        step = ("@items" if is_list else "@values") if is_value else ("@indices" if is_list else "@keys")
        self._locals.setdefault(name, []).append(_Local(path.down(step), size))

    def _call(self, node: Call) -> Range:
        if node.function == "dyn":
            total = fixed(1).plus(self.cost(node.args[0]))
            self._copy(node, node.args[0])
            return total
        costs, given = [], []
        for argument in node.args:
            costs.append(self.cost(argument))
            given.append(self._given(argument))
        overloads = self._tree.overloads.get(node.id, ())
        if not overloads:
            return Range()
        before, target = Range(), None
        if node.target is not None:
            before = self.cost(node.target)
            target = self._given(node.target)
        return before.plus(self._overloads(node, self._narrowed(node, overloads), target, given, costs))

    def _overloads(
        self, node: Call, overloads: Sequence[str], target: Given | None, given: Sequence[Given], costs: Sequence[Range]
    ) -> Range:
        total, size = NOTHING, None
        for overload in overloads:
            found = self._one(node, overload, target, given, costs)
            total = total.union(found.cost)
            if found.size is not None:
                size = found.size if size is None else size.union(found.size)
            if overload in ("index_list", "index_map") and node.args:
                entries = self._entries_of(node.args[0])
                size = entries.value if entries is not None else None
                self._paths[node.id] = self._path(node.args[0]).down("@items" if overload == "index_list" else "@values")
            if size is None:
                size = self._size(node)
        self._set_size(node, size)
        return total

    def _one(self, node: Call, overload: str, target: Given | None, given: Sequence[Given], costs: Sequence[Range]) -> calls.Cost:
        total = Range()
        for one in costs:
            total = total.plus(one)
        own = calls.of(node.function, overload, target, given)
        if own is not None:
            return calls.Cost(own.cost.plus(total), own.size)
        match overload:
            case "logical_or" | "logical_and":
                return calls.Cost(Range(costs[0].least, costs[0].plus(costs[1]).most))
            case "conditional":
                return self._conditional(node, given, costs)
            case str() if overload in _ADDITIONS and len(given) == 2:
                found = self._addition(node, overload, given)
            case _:
                found = _language(overload, target, given)
        return calls.Cost(found.cost.plus(total), found.size)

    def _conditional(self, node: Call, given: Sequence[Given], costs: Sequence[Range]) -> calls.Cost:
        entries = self._entries_of(node.args[1])
        self._set_entries(node, entries.union(self._entries_of(node.args[2])) if entries is not None else None)
        return calls.Cost(costs[0].plus(costs[1].union(costs[2])), given[1].size.union(given[2].size))

    def _addition(self, node: Call, overload: str, given: Sequence[Given]) -> calls.Cost:
        size, entries = given[0].size.plus(given[1].size), self._entries_of(node.args[0])
        self._set_entries(node, entries.union(self._entries_of(node.args[1])) if entries is not None else None)
        return calls.Cost(fixed(1) if overload == "add_list" else size.by(TRAVERSAL), size)

    def _narrowed(self, node: Call, overloads: tuple[str, ...]) -> Sequence[str]:
        """Return the overloads that a call can mean by the schema, where the compiler knows no types (lists in lists)."""
        operands = [node.target] if node.target is not None else list(node.args[1:] if node.function == "@in" else node.args)
        types = [self._type(operand) for operand in operands if operand is not None]
        if node.function == "sort":
            types = [parameter for kind in types for parameter in kind.parameters]
        kinds = [kind.kind for kind in types if kind.kind != "dyn"]
        if len(overloads) < 2 or not kinds:
            return overloads
        words = {kinds[0], _WORDS.get(kinds[0], kinds[0])}
        return [overload for overload in overloads if words & set(overload.split("_"))] or overloads

    def _given(self, node: Node) -> Given:
        return Given(node, self._type(node), self._size_or_unknown(node), self._elements(node))

    def _elements(self, node: Node) -> Range:
        """Return the size of what a list holds, by the schema alone."""
        found = self._sized(self._path(node))
        inner = found.values if found is not None and found.kind == "list" else None
        return Range(0, inner.most) if inner is not None else UNKNOWN

    def _local(self, name: str) -> _Local | None:
        stack = self._locals.get(name)
        return stack[-1] if stack else None

    def _path(self, node: Node) -> _Path:
        if isinstance(node, Ident) and (local := self._local(node.name)) is not None:
            return local.path
        return self._paths.get(node.id, _NOWHERE)

    def _bound(self, path: _Path) -> Bound | None:
        """Return what a path leads to, or None; a path that does not begin with a variable leads nowhere."""
        steps = path.steps
        found = self._bounds.get(steps[0]) if steps else None
        for step in steps[1:]:
            if found is None:
                return None
            found = found.below(step) or (found.values if found.kind == "map" else None)
        return found

    def _sized(self, path: _Path) -> Bound | None:
        """Return what tells the size of a path's value."""
        steps = path.steps
        if not steps:
            return None
        found = self._bounds.get(steps[0]) if self._rooted else self._first
        for step in steps[1:]:
            if found is None:
                return None
            found = found.below(step)
        return found

    def _type(self, node: Node) -> Type:
        """Return the type of a node: the schema and what is done with it tell where the compiler does not (lists in lists)."""
        known = self._tree.type_of(node)
        if known.kind != "dyn" and DYNAMIC not in known.parameters:
            return known
        found = self._bound(self._path(node))
        return _type_of(found) if found is not None else self._made(node) or known

    def _made(self, node: Node) -> Type | None:
        """Return the type of what an expression makes of others, None where that is not told here."""
        match node:
            case Loop():
                gathered = _gathered(node)
                return Type("list", parameters=(self._type(gathered),)) if gathered is not None else None
            case Call(target=Node() as target, function=function) if function in _OF_ELEMENTS:
                return next(iter(self._type(target).parameters), None)
            case Call(target=Node() as target, function=function) if function in _AS_TARGET:
                return self._type(target)
            case Call(function="_?_:_" | "_+_", args=args):
                return next((kind for one in args[-2:] if (kind := self._type(one)).kind != "dyn" and DYNAMIC not in kind.parameters), None)
        return None

    def _size_or_unknown(self, node: Node) -> Range:
        size = self._size(node)
        return UNKNOWN if size is None else size

    def _size(self, node: Node) -> Range | None:
        if node.id in self._sizes:
            return self._sizes[node.id]
        written = _written_size(node)
        if written is not None:
            return fixed(written)
        found = self._sized(self._path(node))
        if found is not None:
            self._sizes[node.id] = Range(0, found.most)
            return self._sizes[node.id]
        kind = self._type(node)
        while kind.kind == "optional" and kind.parameters:
            kind = kind.parameters[0]
        if kind.kind in _SCALAR:
            return fixed(1)
        local = self._local(node.name) if isinstance(node, Ident) else None
        return local.size if local is not None else None

    def _set_size(self, node: Node, size: Range | None) -> None:
        if size is not None:
            self._sizes[node.id] = size

    def _entries_of(self, node: Node) -> _Entries | None:
        if node.id in self._entries:
            return self._entries[node.id]
        local = self._local(node.name) if isinstance(node, Ident) else None
        return local.entries if local is not None else None

    def _set_entries(self, node: Node, entries: _Entries | None) -> None:
        if entries is not None:
            self._entries[node.id] = entries

    def _copy(self, to: Node, source: Node) -> None:
        self._set_size(to, self._size(source))
        self._set_entries(to, self._entries_of(source))


def _language(overload: str, target: Given | None, given: Sequence[Given]) -> calls.Cost:
    """Return what a function of the language itself costs without its arguments."""
    sizes = [one.size for one in given]
    match overload, target, sizes:
        case "format_string_list_dyn", Given(size=text), _:
            return calls.Cost(text.by(TRAVERSAL))
        case "string_to_bytes", _, [text]:
            return calls.Cost(text.by(TRAVERSAL), Range(text.least, text.most * 4 % 2**64))
        case "bytes_to_string", _, [text]:
            return calls.Cost(text.by(TRAVERSAL), Range(text.least // 4, text.most))
        case "strings_quote_string", _, [text]:
            return calls.Cost(text.by(TRAVERSAL), Range((text.least + 2) % 2**64, (text.most * 2 + 2) % 2**64))
        case (("starts_with_string" | "ends_with_string"), _, [text]):
            return calls.Cost(text.by(TRAVERSAL))
        case "in_list", _, [_, container]:
            return calls.Cost(container.by(1))
        case "matches_string", Given(size=text), [pattern]:
            return calls.Cost(calls.matching(text, pattern))
        case "matches", None, [text, pattern]:
            return calls.Cost(calls.matching(text, pattern))
        case "contains_string", Given(size=text), [part]:
            return calls.Cost(text.by(TRAVERSAL).times(part.by(TRAVERSAL)))
    if overload in _COMPARISONS:
        most = min(size.most for size in sizes)
        return calls.Cost(Range(1 if most else 0, most).by(TRAVERSAL))
    return calls.Cost(fixed(1))


def _type_of(found: Bound) -> Type:
    if "." in found.kind:
        return Type("struct", found.kind)
    parts = (found.keys, found.values) if found.kind == "map" else (found.values,)
    return Type(found.kind, parameters=tuple(_type_of(part) for part in parts if part is not None))


def _written_size(node: Node) -> int | None:
    """Return the size of what is written out in the expression."""
    match node:
        case Constant(value=str() | bytes() as text):
            return len(text)
        case Constant():
            return 1
        case Listed(elements=elements):
            return len(elements)
        case Mapped(entries=entries):
            return len(entries)
    return None


def _gathered(node: Loop) -> Node | None:
    """Return what a loop puts into its list in each round, None where it makes none."""
    step = node.step.args[1] if isinstance(node.step, Call) and node.step.function == "_?_:_" else node.step
    if not isinstance(step, Call) or step.function != "_+_":
        return None
    added = step.args[1]
    return added.elements[0] if isinstance(added, Listed) and len(added.elements) == 1 else None


def _is_bind(node: Loop) -> bool:
    empty = isinstance(node.over, Listed) and not node.over.elements
    never = isinstance(node.condition, Constant) and node.condition.value is False
    return empty and never and node.result_variable != _ACCUMULATORS[0]
