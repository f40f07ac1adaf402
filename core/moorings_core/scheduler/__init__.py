"""Which node a pod runs on: a queue, node state as numpy columns, filters and scores, and one API commit per batch of decisions.

`columns`, `rows`, `filters`, `scores`, `spread`, `volumes` and `decide` are pure: no clock, no I/O, no logging; `scheduler`
joins them to the API. Pods, Nodes and claims come in by informers; Bindings, conditions and events go out.
"""
