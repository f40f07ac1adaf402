"""`python -m moorings_core.cli` is `moorings`."""

from . import main

main()
