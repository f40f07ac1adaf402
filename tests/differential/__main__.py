"""`make differential`: every case to both servers; prints where ours answers otherwise than upstream's.

`python -m tests.differential [WORDS]` looks at the cases whose names hold the words. Exit code 1: something differs that known.txt
does not list, or something is listed that does not differ any more.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import peers
from .access import access
from .admission import admission
from .cases import Case, cases
from .compare import differences
from .custom import custom
from .more import more
from .policies import policies
from .resize import resize
from .rich import rich
from .webhooks import webhooks

ALONE = {"custom:": custom, "definitions:": custom, "resize:": resize, "ephemeral:": resize}
"""Cases that need nothing of others, by how their names begin"""
KNOWN = Path(__file__).with_name("known.txt")


def main() -> None:
    """Run the cases and print differences; new ones end with exit code 1, and so do listed ones that are gone."""
    words = " ".join(sys.argv[1:])
    known = {line for line in KNOWN.read_text().splitlines() if line and not line.startswith("#")}
    found: set[str] = set()
    ran = 0
    with tempfile.TemporaryDirectory() as directory:
        theirs, ours = peers.upstream(Path(directory) / "upstream"), None
        try:
            ours = peers.moorings(Path(directory) / "moorings")
            alone = next((made for start, made in ALONE.items() if words.startswith(start)), None)
            for name, requests in alone() if alone else _everything():
                answers = zip(requests, theirs.ask_all(requests), ours.ask_all(requests), strict=True)
                if words not in name:
                    continue
                ran += 1
                for number, (request, *pair) in enumerate(answers):
                    found |= {f"{name} [{number}] {line}" for line in differences(request, *pair)}
        finally:
            for peer in (theirs, ours):
                if peer is not None:
                    peer.close()
    new, gone = sorted(found - known), sorted(known - found) if not words else []
    for sign, lines in (("+", new), ("-", gone)):
        for line in lines:
            print(sign, line)
    print(
        f"{ran} cases, {len({line.split(' [')[0] for line in found})} differ; {len(new)} new differences, {len(gone)} listed ones are gone"
    )
    sys.exit(1 if new or gone else 0)


def _everything() -> Iterator[Case]:
    for part in (access, cases, more, rich, custom, admission, webhooks, policies, resize):
        yield from part()


if __name__ == "__main__":
    main()
