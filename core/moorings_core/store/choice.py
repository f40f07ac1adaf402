"""Which store a server uses: what its cluster file says, until a store was exchanged for another one; that is noted beside the data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from moorings_core import durable
from moorings_core.ports.cluster import StoreConfig
from moorings_core.ports.store import StoreError

FILE, FIRST = "store.json", "store"


class BadChoice(StoreError):
    """The note of the store in use cannot be read; the text says where it is."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Choice:
    """A store in use. directory: its files' place below the server's data."""

    backend: str
    parameters: dict[str, Any] = field(default_factory=dict)
    directory: str = FIRST

    def is_for(self, config: StoreConfig) -> bool:
        """Whether this is what a cluster file asks for."""
        return (self.backend, self.parameters) == (config.backend, dict(config.parameters))


def load(data: Path, config: StoreConfig) -> Choice:
    """Return the store in use of a server whose data is in `data`. Raises BadChoice."""
    path = data / FILE
    try:
        found = orjson.loads(path.read_bytes())
        return Choice(str(found["backend"]), dict(found["parameters"]), str(found["directory"]))
    except FileNotFoundError:
        return Choice(config.backend, dict(config.parameters))
    except (ValueError, KeyError, TypeError) as error:
        raise BadChoice(f"{path} does not say which store is in use: {error}; write it anew, or remove it to use the first one") from error


def note(data: Path, choice: Choice) -> None:
    """Note a choice durably: after a crash the server finds either the old one or this."""
    durable.write(data / FILE, orjson.dumps(asdict(choice), option=orjson.OPT_INDENT_2))
