"""`make conformance`: upstream's own conformance specs against a lab.

Without arguments it runs the specs that passing.txt lists, all of which must pass; with `--landing` those of landing.txt, quick ones of
that list, which run on every landing. `--focus REGEX` runs others and says which pass; `--record` adds those to the list. `--more` is
about upstream's specs that are not part of conformance (network policy, for one), and passing-more.txt; `--storage` about those that it
has for any CSI driver, with the image driver as storage.yaml tells of it, and passing-storage.txt.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from moorings_labs.cluster import Cluster, run
from moorings_labs.pytest_plugin import Watchdog

from . import suite
from .suite import NOT_RUN, Outcome

FOLDER = Path(__file__).parent
PASSING, LANDING, MORE = (FOLDER / name for name in ("passing.txt", "landing.txt", "passing-more.txt"))
STORAGE, DRIVER, STORAGE_LAB = (FOLDER / name for name in ("passing-storage.txt", "storage.yaml", "storage-lab.yaml"))
LAB = FOLDER.parents[1] / "labs" / "topologies" / "demo.yaml"
MOORINGS = [sys.executable, "-m", "moorings_core.cli"]


def main() -> None:
    """Run the specs and report; exit code 1 when a listed one did not pass."""
    options = _options()
    passing = STORAGE if options.storage else MORE if options.more else PASSING
    listed = LANDING if options.landing else passing
    known = suite.storage_names(DRIVER) if options.storage else suite.names(more=options.more)
    wanted = chosen(known, options.focus, lines(listed))
    if not wanted:
        sys.exit(f"no spec matches {options.focus!r}" if options.focus else f"{listed} lists no spec")
    ended = _run(wanted, options)
    print("\n".join(told(ended, slowest=options.slowest)))
    if options.record:
        record(passing, {name for name, outcome in ended.items() if outcome.passed})
    failed = {name for name, outcome in ended.items() if not outcome.passed}
    sys.exit(1 if failed & lines(passing) else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--focus", "--try", metavar="REGEX", default="", help="run the conformance specs whose names match")
    which.add_argument("--landing", action="store_true", help="run the quick ones that landing.txt lists")
    parser.add_argument("--more", action="store_true", help="the specs that are not part of conformance, and passing-more.txt")
    parser.add_argument("--storage", action="store_true", help="the specs for a CSI driver, and passing-storage.txt")
    parser.add_argument("--record", action="store_true", help="add the specs that pass to the list")
    parser.add_argument("--procs", type=int, default=4, help="specs at once")
    parser.add_argument("--minutes", type=int, default=60, help="the bound of the run")
    parser.add_argument("--lab", default="", help="run on this lab, which is up, and leave it up")
    parser.add_argument("--slowest", type=int, default=0, metavar="N", help="name the N slowest specs, too")
    return parser.parse_args()


def lines(path: Path) -> set[str]:
    """Return the names that a file lists, a line each; what starts with "#" is a comment."""
    return {line for line in path.read_text().splitlines() if line and not line.startswith("#")}


def chosen(names: Sequence[str], focus: str, listed: Collection[str]) -> list[str]:
    """Return the specs to run: those whose names match, or without a focus the listed ones. One that is listed and gone is an error."""
    if focus:
        return [name for name in names if re.search(focus, name)]
    if unknown := sorted(set(listed) - set(names)):
        sys.exit("upstream has no such spec: " + "; ".join(unknown))
    return [name for name in names if name in listed]


def told(ended: Mapping[str, Outcome], *, slowest: int = 0) -> list[str]:
    """Return what to print: what did not pass, the slowest if wanted, and the count."""
    slow = sorted(ended.items(), key=lambda item: -item[1].seconds)[:slowest]
    passed = sum(outcome.passed for outcome in ended.values())
    skipped = sum(outcome.state == NOT_RUN for outcome in ended.values())
    return [
        *(f"{outcome.state:>10}  {name}" for name, outcome in sorted(ended.items()) if not outcome.passed),
        *(f"{outcome.seconds:9.1f}s  {name}" for name, outcome in slow),
        f"{len(ended)} specs: {passed} passed, {len(ended) - passed - skipped} failed, {skipped} not run",
    ]


def record(listed: Path, passed: Collection[str]) -> None:
    """Add specs to a list; it is read again, for others may have listed specs meanwhile."""
    listed.write_text("".join(f"{name}\n" for name in sorted({*listed.read_text().splitlines(), *passed})))


def _run(wanted: Sequence[str], options: argparse.Namespace) -> dict[str, Outcome]:
    if options.lab:
        return _on(Cluster(options.lab), wanted, options)
    name = f"specs{os.getpid()}"
    watchdog = Watchdog(name)
    try:
        run([*MOORINGS, "up", "-f", str(STORAGE_LAB if options.storage else LAB), "--name", name], timeout=120)
        return _on(Cluster(name), wanted, options)
    finally:
        run([*MOORINGS, "down", name], check=False)
        watchdog.dismiss()


def _on(lab: Cluster, wanted: Sequence[str], options: argparse.Namespace) -> dict[str, Outcome]:
    more = [f"-repo-root={FOLDER}", f"-storage.testdriver={DRIVER}"] if options.storage else []
    with suite.with_images(lab):
        return suite.outcomes(lab, wanted, procs=options.procs, minutes=options.minutes, more=more)


if __name__ == "__main__":
    main()
