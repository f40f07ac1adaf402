"""Runs specs of upstream's suite against a lab, and says how each ended."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moorings_labs.cluster import Cluster, run
from tests import registry

from . import images
from .images import UPSTREAM

RESULTS = UPSTREAM.parent / "conformance"
NOT_RUN = "not run"
EXTERNAL = "External Storage "


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a spec ended, in ginkgo's words, and the seconds that it took."""

    state: str = NOT_RUN
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether all that it asserts holds."""
        return self.state == "passed"


def names(*, more: bool = False) -> list[str]:
    """Return the names of all conformance specs, or (more) of all others."""
    conformance = _conformance_names()
    return sorted(set(_all_names()) - set(conformance)) if more else conformance


def storage_names(driver: Path) -> list[str]:
    """Return the names of the specs that upstream has for a storage driver, told by its definition."""
    return sorted(name for name in set(_all_names(f"-storage.testdriver={driver}")) if name.startswith(EXTERNAL))


def _all_names(*flags: str) -> list[str]:
    listed = run([str(UPSTREAM / "e2e.test"), *flags, "-list-tests"], timeout=120).stdout
    return re.findall(r"^\s+\S+\.go:\d+: (.+)$", listed, re.MULTILINE)


def _conformance_names() -> list[str]:
    listed = run([str(UPSTREAM / "e2e.test"), "--list-conformance-tests"], timeout=120).stdout
    found = re.findall(r"^\s+codename: ('(?:[^']|'')*'|.+(?:\n\s{4}\S.*)*)", listed, re.MULTILINE)
    return [re.sub(r"\s*\n\s*", " ", text).strip("'").replace("''", "'") for text in found]


@contextmanager
def with_images(lab: Cluster) -> Iterator[None]:
    """Give every node the images that the specs ask for, and stand in for their registry: some specs pull theirs Always."""
    with tempfile.TemporaryDirectory() as directory:
        for archive in images.write(Path(directory)):
            lab.moorings("load", str(archive))
        with registry.serving(lab, images.REGISTRY, Path(directory)) as there:
            there.push(*images.PULLED)
            yield


def outcomes(lab: Cluster, wanted: Sequence[str], *, procs: int, minutes: int, more: Sequence[str] = ()) -> dict[str, Outcome]:
    """Run specs and return how each ended; JUnit's report and the log are in build/conformance.

    minutes: the bound of the whole run, after which what is left is not run; more: further flags of the suite.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    report = RESULTS / "report.json"
    report.unlink(missing_ok=True)
    focus = "|".join(f"{re.escape(name)}$" for name in wanted)
    flags = [f"--procs={procs}", "--no-color", "--silence-skips", f"--timeout={minutes}m", f"--focus={focus}"]
    flags += [f"--output-dir={RESULTS}", f"--json-report={report.name}", "--junit-report=junit.xml"]
    suite = ["-provider=skeleton", f"-kubeconfig={lab.kubeconfig}", "-allowed-not-ready-nodes=-1", "-dump-logs-on-failure=false", *more]
    command = [str(UPSTREAM / "ginkgo"), *flags, str(UPSTREAM / "e2e.test"), "--", *suite]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # kubectl stands beside Python
    with (RESULTS / "log").open("wb") as log:
        subprocess.run(command, stdout=log, stderr=log, check=False, timeout=(minutes + 5) * 60, env={**os.environ, "PATH": path})
    specs = json.loads(report.read_text())[0]["SpecReports"]
    ended = {_name(s): Outcome(s["State"], s["RunTime"] / 1e9) for s in specs if s["State"] != "skipped"}
    return {name: ended.get(name, Outcome()) for name in wanted}


def _name(spec: dict[str, object]) -> str:
    parts = [*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"]]  # type: ignore[misc]
    return " ".join(" ".join(str(part) for part in parts).split())  # as lists of specs have it
