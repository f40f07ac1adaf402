"""The kinds as data: generated facts, schemas, defaults, validation, strategies, printer columns, selectors.

Pure: no I/O but reading the facts file. Requests of `api` come in; checked and defaulted objects, tables and documents go out.
"""
