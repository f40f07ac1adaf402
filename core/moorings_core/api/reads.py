"""Get and list from the cache: consistent by default, paged on a snapshot, at a version where one is asked for."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from moorings_core.ports.errors import BadRequest
from moorings_core.ports.objects import Key, Object, Resource, key_of
from moorings_core.ports.store import Compacted, Store
from moorings_core.registry import selectors
from moorings_core.registry.schema import base64_complaint

from . import problems
from .cache import Cache, Stored, store_key, stored
from .turns import Turns

NEWEST_WAIT = 3.0


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What a list asks for; version "" is the newest, "0" whatever is at hand."""

    namespace: str = ""
    labels: str = ""
    fields: str = ""
    limit: int = 0
    continue_: str = ""
    version: str = ""
    match: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of stored objects."""

    items: Sequence[Stored]
    version: str
    continue_: str = ""
    remaining: int | None = None

    def metadata(self) -> Object:
        """Return the list's metadata."""
        metadata: Object = {"resourceVersion": self.version}
        if self.continue_:
            metadata["continue"] = self.continue_
            if self.remaining is not None:
                metadata["remainingItemCount"] = self.remaining
        return metadata


class Selection:
    """Label and field selectors of a request, parsed and checked. Raises BadRequest."""

    def __init__(self, resource: Resource, labels: str, fields: str) -> None:
        try:
            self._labels, self._fields = selectors.parse_labels(labels), selectors.parse_fields(fields)
            selectors.check_fields(resource, self._fields)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        self.name, self.node = self._fields.requires("metadata.name"), self._fields.requires("spec.nodeName")
        """The one name, and the one node, that can be selected; None where the selector leaves them open"""
        self._tests = [(selectors.field_reader(resource, name), value, equal) for name, value, equal in self._fields.terms]
        self.all = not self._labels and not self._fields

    def matches(self, obj: Object) -> bool:
        """Whether an object is selected."""
        if self.all:
            return True
        if self._labels and not self._labels.matches(obj["metadata"].get("labels") or {}):
            return False
        return all((read(obj) == value) is equal for read, value, equal in self._tests)


class Reader:
    """Reads of one cache and its store."""

    def __init__(self, cache: Cache, store: Store) -> None:
        self._cache, self._store = cache, store

    def get(self, resource: Resource, key: Key) -> Stored:
        """Return an object. Raises NotFound."""
        found = self._cache.collection(resource.group, resource.plural).get(key)
        if found is None:
            raise problems.not_found(resource, key.name)
        return found

    async def list(self, resource: Resource, options: ListOptions) -> Listing:
        """Return a page. Raises BadRequest, Expired, ServerTimeout."""
        selection = Selection(resource, options.labels, options.fields)
        if options.continue_:
            return await self._continue(resource, options, selection)
        if options.match == "Exact":
            return await self._page(resource, options, selection, number(options.version), "")
        await self.reach(options.version)
        collection = self._cache.collection(resource.group, resource.plural)
        items, at = list(collection.select(options.namespace)), self._cache.revision
        return self._cut(resource, await _selected(items, selection), options, selection, at)

    async def reach(self, version: str) -> None:
        """Wait a little for a version that somebody else has seen. Raises ServerTimeout, BadRequest."""
        if version in ("", "0"):
            return
        asked = number(version)
        try:
            await self._cache.wait_for(asked, NEWEST_WAIT)
        except TimeoutError:
            raise problems.too_new(asked, self._cache.revision) from None

    async def _continue(self, resource: Resource, options: ListOptions, selection: Selection) -> Listing:
        try:
            at, after = orjson.loads(base64.urlsafe_b64decode(options.continue_))
        except ValueError as error:
            why = base64_complaint(options.continue_) or "illegal base64 data at input byte 0"
            raise BadRequest(f"invalid continue token: continue key is not valid: {why}") from error
        return await self._page(resource, options, selection, at or self._cache.revision, after)

    async def _page(self, resource: Resource, options: ListOptions, selection: Selection, at: int, after: str) -> Listing:
        prefix = store_key(resource.group, resource.plural, Key(options.namespace, ""))
        if not options.namespace:
            prefix = prefix[:-1]
        limit = max(options.limit, 0) if selection.all else 0
        try:
            page = await self._store.list(prefix, at=at if at != self._cache.revision else 0, after=after, limit=limit)
        except Compacted as error:
            raise problems.page_expired(_token(0, after)) from error
        items = [stored(r.value, r.revision) for r in page.records]
        if page.more:
            return Listing(items, str(at), _token(at, page.records[-1].key), page.remaining)
        return self._cut(resource, await _selected(items, selection), options, selection, at)

    def _cut(self, resource: Resource, items: Sequence[Stored], options: ListOptions, selection: Selection, at: int) -> Listing:
        if options.limit <= 0 or len(items) <= options.limit:
            return Listing(items, str(at))
        page = items[: options.limit]
        place = store_key(resource.group, resource.plural, key_of(page[-1].object))
        token = _token(at, place)
        remaining = len(items) - len(page) if selection.all else None
        return Listing(page, str(at), token, remaining)


async def _selected(items: Sequence[Stored], selection: Selection) -> Sequence[Stored]:
    if selection.all:
        return items
    turns, found = Turns(), []
    for one in items:
        if selection.matches(one.object):
            found.append(one)
        await turns.give()
    return found


def _token(at: int, place: str) -> str:
    """Return where a list goes on: after a place, as it was at a revision; 0 stands for the newest."""
    return base64.urlsafe_b64encode(orjson.dumps([at, place])).decode()


def number(version: str) -> int:
    """Return a resourceVersion as a number. Raises BadRequest."""
    if not version.isdigit():
        raise problems.bad_version(version)
    return int(version)
