"""The ports: what a backend provides and what it is given. Types only, one file per port.

Here live Protocols, the plain dataclasses they exchange and the errors they raise; no behaviour, no I/O, and no import of
anything else of moorings. Backends are chosen by name in the cluster file and found by entry point (see `config.backends`).
"""
