"""Images of containers: local ones are used as the pull policy says, others fetched, failures waited out longer each time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from moorings_core.ports.cluster import Timing
from moorings_core.ports.errors import MooringsError
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import ImageInfo, Runtime, RuntimeFailure

Tell = Callable[[Literal["Normal", "Warning"], str, str], None]


class ImageNotReady(MooringsError):
    """The image is not here yet: reason ErrImagePull, ImagePullBackOff or ErrImageNeverPull; try again after `after` seconds."""

    def __init__(self, reason: str, message: str, after: float) -> None:
        super().__init__(message)
        self.reason, self.after = reason, after


class Images:
    """Brings images to this node."""

    def __init__(self, runtime: Runtime, timing: Timing) -> None:
        self._runtime, self._timing = runtime, timing
        self._failures: dict[str, tuple[int, float, str]] = {}

    async def ensure(self, container: Object, tell: Tell) -> ImageInfo:
        """Return the container's image, fetching it where its policy says so. Raises ImageNotReady."""
        name, policy = container["image"], container.get("imagePullPolicy", "IfNotPresent")
        found = await self._runtime.image(name)
        if found is not None and policy != "Always":
            tell("Normal", "Pulled", f'Container image "{name}" already present on machine')
            return found
        if policy == "Never":
            raise ImageNotReady("ErrImageNeverPull", f'Container image "{name}" is not present with pull policy of Never', 5)
        self._wait(name)
        return await self._pull(name, tell)

    def _wait(self, name: str) -> None:
        failures, until, text = self._failures.get(name, (0, 0.0, ""))
        left = until - time.monotonic()
        if failures and left > 0:
            raise ImageNotReady("ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {text}', left)

    async def _pull(self, name: str, tell: Tell) -> ImageInfo:
        tell("Normal", "Pulling", f'Pulling image "{name}"')
        try:
            await self._runtime.pull(name)
        except RuntimeFailure as error:
            failures = self._failures.get(name, (0, 0.0, ""))[0]
            delay = min(self._timing.image_backoff * 2**failures, self._timing.image_backoff_max)
            self._failures[name] = (failures + 1, time.monotonic() + delay, str(error))
            tell("Warning", "Failed", f'Failed to pull image "{name}": {error}')
            raise ImageNotReady("ErrImagePull", str(error), delay / 2) from error  # the second half is told as ImagePullBackOff
        self._failures.pop(name, None)
        found = await self._runtime.image(name)
        if found is None:
            raise ImageNotReady("ErrImagePull", f'image "{name}" is not there after it was pulled', self._timing.image_backoff)
        tell("Normal", "Pulled", f'Successfully pulled image "{name}"')
        return found
