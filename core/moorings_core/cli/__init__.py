"""The `moorings` command: one module per verb, imported only when used."""
