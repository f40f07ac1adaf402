"""When images are fetched, and what is said while they cannot be."""

import pytest

from moorings_core.agent.images import ImageNotReady, Images
from moorings_core.ports.cluster import Timing
from moorings_core.ports.runtime import ImageInfo, RuntimeFailure

from .builders import container

HERE = ImageInfo("sha256:1", (), 0, "")
REFUSED = RuntimeFailure("UNKNOWN", "connection refused")


class Registry:
    """Answers for a runtime: what is here, and whether a pull works."""

    def __init__(self, here=None, failure=None):
        self.here, self.failure, self.pulls = here, failure, 0

    async def image(self, name):
        return self.here

    async def pull(self, name):
        self.pulls += 1
        if self.failure:
            raise self.failure
        self.here = HERE


async def ensure(images, policy="IfNotPresent"):
    told = []
    try:
        found = await images.ensure(container(imagePullPolicy=policy), lambda kind, reason, text: told.append(reason))
    except ImageNotReady as error:
        return error.reason, str(error), error.after, told
    return found, told


@pytest.mark.parametrize(
    ("policy", "here", "pulls"), [("IfNotPresent", HERE, 0), ("IfNotPresent", None, 1), ("Always", HERE, 1), ("Never", HERE, 0)]
)
async def test_the_policy_decides_whether_an_image_is_fetched(policy, here, pulls):
    registry = Registry(here)
    found, told = await ensure(Images(registry, Timing()), policy)
    assert (found, registry.pulls) == (HERE, pulls)
    assert told == (["Pulling", "Pulled"] if pulls else ["Pulled"])


async def test_an_absent_image_that_must_not_be_fetched_is_an_error():
    registry = Registry()
    assert (await ensure(Images(registry, Timing()), "Never"))[0] == "ErrImageNeverPull"
    assert registry.pulls == 0


async def test_a_failure_is_told_with_the_registrys_words_and_then_waited_out():
    registry = Registry(failure=REFUSED)
    images = Images(registry, Timing(image_backoff=10))
    reason, text, after, told = await ensure(images)
    assert (reason, text, told) == ("ErrImagePull", "connection refused", ["Pulling", "Failed"])
    reason, text, left, told = await ensure(images)
    assert (reason, told) == ("ImagePullBackOff", [])
    assert text == 'Back-off pulling image "example/i:1": ErrImagePull: connection refused'
    assert after < left <= 10  # the look that follows the failure finds it waiting
    assert registry.pulls == 1


async def test_the_wait_doubles_up_to_its_most_and_ends_with_success():
    registry = Registry(failure=REFUSED)
    images = Images(registry, Timing(image_backoff=1e-9, image_backoff_max=3e-9))
    waits = [(await ensure(images))[2] for _ in range(4)]
    assert waits == [0.5e-9, 1e-9, 1.5e-9, 1.5e-9]
    registry.failure = None
    assert (await ensure(images))[0] == HERE
    registry.here, registry.failure = None, REFUSED
    assert (await ensure(images))[2] == 0.5e-9
