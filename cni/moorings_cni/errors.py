"""The CNI error object and its codes. Source: containernetworking/cni SPEC.md, section Error."""

from __future__ import annotations

import json
from typing import Any

from moorings_core.ports.errors import MooringsError

INCOMPATIBLE, UNSUPPORTED_FIELD, UNKNOWN_CONTAINER, BAD_ENVIRONMENT, IO_FAILURE, DECODE_FAILURE, INVALID_CONFIG = range(1, 8)
INVALID_NETNS, TRY_AGAIN, UNAVAILABLE, DEGRADED, FAILED, CHECK_FAILED = 8, 11, 50, 51, 100, 101


class CniError(MooringsError):
    """An error as the runtime is to read it. Codes from 100 are this plugin's own."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details

    def to_json(self, version: str) -> str:
        """Return the error object for stdout."""
        body: dict[str, Any] = {"cniVersion": version, "code": self.code, "msg": self.message}
        return json.dumps(body | ({"details": self.details} if self.details else {}))
