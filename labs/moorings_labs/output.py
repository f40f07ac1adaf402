"""How verbs print what they read: a table for people, JSON, YAML or names for programs; always on stdout."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
import yaml

Row = dict[str, str | int]


def show(output: str, document: dict[str, object], rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Print rows as the user asked: the document as JSON or YAML, names only, or a table (nothing when there are no rows)."""
    if output == "json":
        click.echo(json.dumps(document, indent=2))
    elif output == "yaml":
        click.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
    elif output == "name":
        click.echo("".join(f"{row['name']}\n" for row in rows), nl=False)
    elif rows:
        table([[c.upper() for c in columns], *([str(row[c]) for c in columns] for row in rows)])


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; the first row is the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
