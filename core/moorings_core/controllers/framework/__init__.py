"""What every controller stands on: a queue of keys, caches that know our own writes, a loop that applies intents in batches.

A controller is a pure function from caches to intents; here is everything that is not pure. Objects come from informers and from
the answers to our writes; writes go out through `ports.client.Client.commit`. No knowledge of any kind may live here.
"""

from .cache import Cache, View
from .intents import Controller, Intent, Note, Question, Result, Watch, WorkKey
from .loop import Loop
from .queue import WorkQueue

__all__ = ["Cache", "Controller", "Intent", "Loop", "Note", "Question", "Result", "View", "Watch", "WorkKey", "WorkQueue"]
