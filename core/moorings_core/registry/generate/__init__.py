"""Makes `facts.json` from the Go modules of upstream: `python -m moorings_core.registry.generate`, or `make facts`.

A development tool: nothing at run time imports it. Only facts are taken (names, paths, verbs, types, numbers), no sentence and no
code. Comes in: the module cache of `go`; goes out: one deterministic file beside the registry.
"""
