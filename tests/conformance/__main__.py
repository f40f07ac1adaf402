"""`make conformance`: upstream's own conformance specs against a lab.

Without arguments it runs the specs that passing.txt lists, all of which must pass. `--try REGEX` runs others and says which pass;
`--record` adds those to the list. `--more` is about upstream's specs that are not part of conformance (network policy, for one),
and passing-more.txt. The images that the specs ask for are made here from busybox and upstream's agnhost.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from moorings_labs import images
from moorings_labs.cluster import Cluster, run
from moorings_labs.images import Image
from moorings_labs.pytest_plugin import Watchdog

ROOT = Path(__file__).parents[2]
UPSTREAM = ROOT / "build" / "upstream"
PASSING, MORE = (Path(__file__).with_name(name) for name in ("passing.txt", "passing-more.txt"))
LAB = ROOT / "labs" / "topologies" / "demo.yaml"
MOORINGS = [sys.executable, "-m", "moorings_core.cli"]
REGISTRY = "registry.k8s.io"
AGNHOST = Image(
    (f"{REGISTRY}/e2e-test-images/agnhost:2.66.1", f"{REGISTRY}/e2e-test-images/agnhost:2.55"),
    ("pause",), ("/agnhost",), {"agnhost": UPSTREAM / "agnhost", "agnhost-2": UPSTREAM / "agnhost"},
)  # fmt: skip
BUSYBOX = Image((f"{REGISTRY}/e2e-test-images/busybox:1.37.0-2", f"{REGISTRY}/pause:3.10.2"))


def main() -> None:
    """Run the specs and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("--try", dest="regex", default="", help="run the conformance specs whose names match")
    parser.add_argument("--record", action="store_true", help="add the specs that pass to passing.txt")
    parser.add_argument("--procs", type=int, default=4, help="specs at once")
    parser.add_argument("--more", action="store_true", help="the specs that are not part of conformance, and passing-more.txt")
    parser.add_argument("--lab", default="", help="run on this lab, which is up, and leave it up")
    options = parser.parse_args()
    passing = MORE if options.more else PASSING
    known = set(passing.read_text().splitlines())
    wanted = [n for n in names(more=options.more) if (re.search(options.regex, n) if options.regex else n in known)]
    if not wanted:
        sys.exit(f"no spec matches {options.regex!r}" if options.regex else f"{passing} lists no spec")
    states = specs(Cluster(options.lab), wanted, options.procs) if options.lab else on_own_lab(wanted, options.procs)
    passed = {name for name in wanted if states.get(name) == "passed"}
    for name in sorted(set(wanted) - passed):
        print(f"{states.get(name, 'not run'):>10}  {name}")
    print(f"{len(passed)} of {len(wanted)} passed")
    if options.record:
        listed = {*passing.read_text().splitlines(), *passed}  # read again: others may have listed specs while these ran
        passing.write_text("".join(f"{name}\n" for name in sorted(listed)))
    sys.exit(0 if options.regex or set(wanted) <= passed else 1)


def names(*, more: bool) -> list[str]:
    """Return the names of all conformance specs, or (more) of all others."""
    conformance = conformance_names()
    if not more:
        return conformance
    listed = run([str(UPSTREAM / "e2e.test"), "-list-tests"], timeout=120).stdout
    return sorted(set(re.findall(r"^\s+\S+\.go:\d+: (.+)$", listed, re.MULTILINE)) - set(conformance))


def conformance_names() -> list[str]:
    """Return the names of all conformance specs."""
    listed = run([str(UPSTREAM / "e2e.test"), "--list-conformance-tests"], timeout=120).stdout
    found = re.findall(r"^\s+codename: ('(?:[^']|'')*'|.+(?:\n\s{4}\S.*)*)", listed, re.MULTILINE)
    return [re.sub(r"\s*\n\s*", " ", text).strip("'").replace("''", "'") for text in found]


def on_own_lab(wanted: Sequence[str], procs: int) -> dict[str, str]:
    """Run specs on a lab that is made for them."""
    name = f"conformance{os.getpid()}"
    watchdog = Watchdog(name)
    try:
        run([*MOORINGS, "up", "-f", str(LAB), "--name", name], timeout=120)
        return specs(Cluster(name), wanted, procs)
    finally:
        run([*MOORINGS, "down", name], check=False)
        watchdog.dismiss()


def specs(lab: Cluster, wanted: Sequence[str], procs: int) -> dict[str, str]:
    """Load the images, run the specs, and return the state of each by its name."""
    with tempfile.TemporaryDirectory() as directory:
        for number, image in enumerate((AGNHOST, BUSYBOX)):
            archive = Path(directory) / f"{number}.tar"
            images.write_archive(archive, image)
            lab.moorings("load", str(archive))
        focus = "|".join(re.escape(name) + "$" for name in wanted)
        flags = [
            f"--procs={procs}",
            "--no-color",
            "--json-report=report.json",
            f"--output-dir={directory}",
            f"--focus={focus}",
            "--silence-skips",
        ]
        arguments = ["-provider=skeleton", f"-kubeconfig={lab.kubeconfig}", "-allowed-not-ready-nodes=-1", "-dump-logs-on-failure=false"]
        log = ROOT / "build" / "conformance.log"
        with log.open("wb") as output:
            command = [str(UPSTREAM / "ginkgo"), *flags, str(UPSTREAM / "e2e.test"), "--", *arguments]
            subprocess.run(command, stdout=output, stderr=output, check=False)
        report = json.loads((Path(directory) / "report.json").read_text())
    return {name: spec["State"] for spec in report[0]["SpecReports"] if spec["State"] != "skipped" and (name := _name(spec))}


def _name(spec: dict[str, object]) -> str:
    parts = [*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"]]  # type: ignore[misc]
    return " ".join(str(part) for part in parts)


if __name__ == "__main__":
    main()
