"""Requests are counted and timed under upstream's names, as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from moorings_core.api import metrics
from moorings_core.api.metrics import Metrics
from moorings_core.api.paths import parse

POD = parse("/api/v1/namespaces/d/pods/p")


def samples(told: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return what a scraper reads of requests."""
    families = text_string_to_metric_families(told.text().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples if "request" in s.name}


def test_requests_are_counted_by_code_and_timed_over_all_codes(monkeypatch):
    told = Metrics()
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: 10.0)
    for start, code in ((9.99, 200), (9.7, 200), (-100.0, 404)):
        told.answered(start, "get", POD, code)
    told.answered(0.0, "watch", POD, 200)
    found = samples(told)
    where = {"group": "", "version": "v1", "resource": "pods", "subresource": "", "scope": "resource"}

    def value(name, **labels):
        return found[name, tuple(sorted({**where, **labels}.items()))]

    assert value("apiserver_request_total", verb="GET", code="200") == 2
    assert value("apiserver_request_total", verb="GET", code="404") == 1
    assert value("apiserver_request_total", verb="WATCH", code="200") == 1
    seconds = "apiserver_request_duration_seconds"
    assert [value(f"{seconds}_bucket", verb="GET", le=le) for le in ("0.005", "0.025", "0.4", "60.0", "+Inf")] == [0, 1, 2, 2, 3]
    assert value(f"{seconds}_count", verb="GET") == 3 and round(value(f"{seconds}_sum", verb="GET"), 2) == 110.31
    assert not [k for k in found if k[0].startswith(seconds) and ("verb", "WATCH") in k[1]]
