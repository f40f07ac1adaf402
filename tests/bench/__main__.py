"""`make bench`: runs every benchmark, prints its figures, and writes them into README's table with the machine they were measured on.

`--peers` (`make bench-peers`) measures upstream's programs in the same run, beside ours.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from .report import FILE, PEERS

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"


def main() -> None:
    """Run the benchmarks named on the command line (all without names); only a run of all of them changes README."""
    known = sorted(p.stem.removeprefix("bench_") for p in Path(__file__).parent.glob("bench_*.py"))
    names = [name for name in sys.argv[1:] if name != "--peers"] or known
    if unknown := set(names) - set(known):
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    results = ROOT / "build" / "bench.json"
    results.parent.mkdir(exist_ok=True)
    results.unlink(missing_ok=True)
    environment = {**os.environ, FILE: str(results)} | ({PEERS: "yes"} if "--peers" in sys.argv else {})
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # programs that compile their modules anew at each start are not what users run
    print(machine(), flush=True)
    for name in names:
        print(f"\n{name}", flush=True)
        subprocess.run([sys.executable, "-m", f"tests.bench.bench_{name}"], cwd=ROOT, env=environment, check=True)
    if names == known:
        write(ROOT / "README.md", [json.loads(line) for line in results.read_text().splitlines()])


def machine() -> str:
    """Return what this machine is, in one line."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    release = re.search(r'^PRETTY_NAME="(.+)"$', Path("/etc/os-release").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = release[1] if release else platform.system()
    processor = model[1] if model else platform.machine()
    python = platform.python_version()
    return f"{os.cpu_count()} cores of {processor}, {memory:.0f} GiB, {system}, kernel {platform.release()}, Python {python}"


def shown(value: object) -> str:
    """Return a figure with three digits that mean something."""
    number = float(str(value))
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def write(readme: Path, figures: list[dict[str, object]]) -> None:
    """Replace the table between the marks: what has a budget; the rest is on the screen."""
    beside = {str(f["name"]): f for f in figures if f["peer"]}
    ours = [f for f in figures if f["budget"]]
    measured = [f"{shown(f['value'])} {f['unit']}" for f in ours]
    upstream = [f"{shown(p['value'])} {p['unit']}" if (p := beside.get(str(f["name"]))) else "" for f in ours]
    rows = [f"| {f['name']} | {own} | {theirs} | {f['budget']} |" for f, own, theirs in zip(ours, measured, upstream, strict=True)]
    day = datetime.now(UTC).date().isoformat()
    lines = [
        BEGIN,
        f"Measured {day} by `make bench` on {machine()}.",
        "",
        "| what | measured | upstream 1.37.2, same run | budget |",
        "| --- | ---: | ---: | --- |",
        *rows,
        END,
    ]
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(before + "\n".join(lines) + after)


if __name__ == "__main__":
    main()
