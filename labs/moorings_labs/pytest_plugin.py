"""Fixtures of moorings labs for pytest; see labs/README.md."""
