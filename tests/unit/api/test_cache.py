"""What the cache keeps of an object takes as much memory as it says."""

import tracemalloc

from moorings_core.api.cache import encode


def test_what_is_kept_is_as_large_as_its_text() -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "7"}, "data": {"v": "x" * 1900}}
    encode(obj)
    tracemalloc.start()
    try:
        kept = [encode(obj) for _ in range(50)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    text = sum(map(len, kept))
    assert text < held < text * 1.25
