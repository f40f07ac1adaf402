"""Mutating and validating webhooks: others who fill in and refuse, asked over HTTPS.

`hooks` are the configurations in the cache, `review` what is asked and answered, `caller` how, `dispatch` in what order.
"""

from .caller import Caller
from .dispatch import Webhooks

__all__ = ["Caller", "Webhooks"]
