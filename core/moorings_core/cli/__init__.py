"""The `moorings` command: one module per verb, imported only when used; labs add theirs by the entry-point group moorings.command.

stdout is data, everything else goes to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 timed out, 4 no such thing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points

import click

OWN = {
    "server": ("moorings_core.cli.server", "Run the control plane on this machine."),
    "backup": ("moorings_core.cli.backup", "Write all objects and keys of a server to a file."),
    "restore": ("moorings_core.cli.restore", "Make a server's data from a backup."),
    "agent": ("moorings_core.cli.agent", "Run a node on this machine."),
    "rekey": ("moorings_core.cli.rekey", "Encrypt what a server stores with a new key."),
    "credentials": ("moorings_core.cli.credentials", "Make what a node needs to join."),
}
GROUP = "moorings.command"


class LazyGroup(click.Group):
    """Verbs are looked up by name; `--help` imports no more than their definitions."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the verbs."""
        return sorted({*OWN, *(e.name for e in entry_points(group=GROUP))})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import and return a verb."""
        if name in OWN:
            found: click.Command = import_module(OWN[name][0]).command
            return found
        entry = next(iter(entry_points(group=GROUP, name=name)), None)
        return entry.load() if entry else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs; server and agent, which are heavy, are not imported for that."""
        rows = [(name, self._summary(context, name)) for name in self.list_commands(context)]
        with formatter.section("Verbs (moorings VERB --help tells more)"):
            formatter.write_dl(rows)

    def _summary(self, context: click.Context, name: str) -> str:
        found = None if name in OWN else self.get_command(context, name)
        return OWN[name][1] if found is None else found.get_short_help_str(80)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "MOORINGS"})
@click.version_option(package_name="moorings")
def group() -> None:
    """A Kubernetes-compatible cluster whose network, services, storage and cloud are exchangeable backends."""


def main() -> None:
    """Run the command line."""
    from moorings_core.ports.errors import MooringsError

    try:
        group(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except MooringsError as error:
        sys.stderr.write(f"moorings: {error}\n")
        sys.exit(error.exit_code)
