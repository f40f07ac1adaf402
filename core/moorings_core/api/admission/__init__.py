"""Admission: what is filled in or refused because of other objects, or because somebody else says so.

A write passes the built-in plugins, one module each, in upstream's order; then come the policies and webhooks that clients have
configured, and the quota last. What concerns no policy, webhook or quota never waits: `Admission.concerns` says so beforehand.
"""

from .attributes import Attributes
from .chain import Admission, now

__all__ = ["Admission", "Attributes", "now"]
