"""Read the modules, write the facts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .definitions import definitions
from .messages import messages
from .resources import groups, resources
from .shapes import mark

OUTPUT = Path(__file__).parent.parent / "facts.json"
VERSION, STAGING_VERSION = "v1.37.2", "v0.37.2"
STAGING = ("api", "apimachinery", "apiextensions-apiserver", "kube-aggregator")


def module(name: str, version: str) -> Path:
    """Return the folder of a Go module, downloading it when needed. Raises CalledProcessError with go's words on stderr."""
    command = ["go", "mod", "download", "-json", f"{name}@{version}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd="/")
    return Path(json.loads(done.stdout)["Dir"])


def main() -> None:
    """Write facts.json."""
    kubernetes = module("k8s.io/kubernetes", VERSION)
    staging = [module(f"k8s.io/{name}", STAGING_VERSION) for name in STAGING]
    served = resources(kubernetes / "api/discovery")
    schemas = definitions(kubernetes / "api/openapi-spec/swagger.json", served)
    mark(staging, schemas)
    facts = {
        "version": VERSION,
        "groups": groups(kubernetes / "api/discovery"),
        "resources": served,
        "definitions": schemas,
        "messages": messages(staging, schemas),
    }
    OUTPUT.write_text(json.dumps(facts, sort_keys=True, separators=(",", ":")) + "\n")
    sys.stdout.write(f"{OUTPUT}: {OUTPUT.stat().st_size} bytes, {len(served)} resources\n")


if __name__ == "__main__":
    main()
