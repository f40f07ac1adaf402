"""One module per controller: reconcile(key) -> intents, pure; the framework applies intents in batches.

`manager.Manager` runs them all. What a controller knows comes from shared informers through `framework.View`; what it wants goes
out as intents. Nothing here does I/O but `framework` and `manager`, and no controller knows another: they meet in the API only.
"""
