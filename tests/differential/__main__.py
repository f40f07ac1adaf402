"""`make differential`: every case to both servers; prints where ours answers otherwise than upstream's.

`python -m tests.differential [WORDS]` looks at the cases whose names hold the words. Exit code 1: something differs that known.txt
does not list, or something is listed that does not differ any more. Of the cases of mutated.py and updates.py it counts how many differ
for each kind beside those that known.txt lists, and holds that against mutated.txt. Those of populated.py are made while upstream's
server runs.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from . import peers
from .access import access
from .admission import admission
from .cases import Case, cases
from .compare import differences
from .costs import costs
from .custom import custom
from .ended import ended
from .mixed import mixed
from .more import claims, more
from .mutated import mutated
from .policies import policies
from .populated import PREFIX as POPULATED
from .populated import populated
from .resize import resize
from .rich import rich
from .services import RANGES, services
from .updates import updates
from .webhooks import webhooks
from .wrong import wrong

MUTATED, UPDATES, MIXED = "mutated:", "mutated updates:", "mixed:"
COUNTED = (MUTATED, UPDATES)
ALONE = {
    MUTATED: mutated,
    UPDATES: updates,
    "custom:": custom,
    "definitions:": custom,
    "costs:": costs,
    "wrong:": wrong,
    MIXED: mixed,
    "resize:": resize,
    "ephemeral:": resize,
    "ended:": ended,
    "claims:": claims,
}
"""Cases that need nothing of others, by how their names begin"""
KNOWN, COUNTS = (Path(__file__).with_name(name) for name in ("known.txt", "mutated.txt"))


def main() -> None:
    """Run the cases and print differences; new ones end with exit code 1, and so do listed ones that are gone."""
    words = " ".join(sys.argv[1:])
    known = {line for line in KNOWN.read_text().splitlines() if line and not line.startswith("#")}
    alone = next((made for start, made in ALONE.items() if words.startswith(start)), None)
    if words.startswith(POPULATED):
        found, ran = run(functools.partial(populated, words=words), words, peers.RANGE)
    else:
        wanted = [] if words.startswith("services:") else list(alone() if alone else _everything())
        found, ran = run(lambda _: wanted, words, peers.RANGE) if wanted else (set[str](), 0)
        if alone is None:
            more_found, more_ran = run(lambda _: services(), words, RANGES)
            found, ran = found | more_found, ran + more_ran
    accepted = {line for line in known if line.startswith(COUNTED)}
    drifted = drift(found - accepted, words) if words in COUNTED else []
    gone = sorted(_listed(known, words) - found)
    if words in COUNTED:
        found = accepted & found
    new = [*drifted, *sorted(found - known)]
    for sign, lines in (("+", new), ("-", gone)):
        for line in lines:
            print(sign, line)
    print(
        f"{ran} cases, {len({line.split(' [')[0] for line in found})} differ; {len(new)} new differences, {len(gone)} listed ones are gone"
    )
    sys.exit(1 if new or gone else 0)


def _listed(known: set[str], words: str) -> set[str]:
    """Return the listed differences that a run with these words has to find: one about some cases only is not asked for more."""
    apart = (*COUNTED, POPULATED, MIXED)
    if words in apart:
        return {line for line in known if line.startswith(words)}
    return set() if words else {line for line in known if not line.startswith(apart)}


def run(wanted: Callable[[peers.Peer], Iterable[Case]], words: str, ranges: str) -> tuple[set[str], int]:
    """Send cases to two fresh servers whose Services have these ranges; return the differences and how many cases there were."""
    found: set[str] = set()
    ran = 0
    with tempfile.TemporaryDirectory() as directory:
        theirs, ours = peers.upstream(Path(directory) / "upstream", ranges), None
        try:
            ours = peers.moorings(Path(directory) / "moorings", ranges)
            for name, requests in wanted(theirs):
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
    return found, ran


def drift(found: set[str], start: str) -> list[str]:
    """Return a line for each kind of which more or fewer answers differ than mutated.txt says, of the cases that begin so."""
    cases = {line.partition(" [")[0] for line in found if line.startswith(start)}
    have = Counter(case.removeprefix(f"{start} ").partition(": ")[0] for case in cases)
    lines = (line.rpartition(" ") for line in COUNTS.read_text().splitlines() if line and not line.startswith("#"))
    said = {name.removeprefix(f"{start} "): int(number) for name, _, number in lines if name.startswith(f"{start} ")}
    kinds = sorted(kind for kind in {*have, *said} if have[kind] != said.get(kind, 0))
    print(f"{sum(have.values())} answers differ")
    return [f"{start} {kind}: {have[kind]} answers differ, {COUNTS.name} says {said.get(kind, 0)}" for kind in kinds]


def _everything() -> Iterator[Case]:
    for part in (access, cases, more, rich, custom, costs, admission, webhooks, policies, resize, ended, wrong):
        yield from part()


if __name__ == "__main__":
    main()
