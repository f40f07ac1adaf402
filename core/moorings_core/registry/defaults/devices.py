"""Defaults of claims and slices of devices. Source: pkg/apis/resource/v1/defaults.go."""

from __future__ import annotations

import time

from moorings_core.ports.objects import Object

GROUP = "resource.k8s.io"


def _claim(obj: Object) -> None:
    _spec(obj.get("spec") or {})


def _template(obj: Object) -> None:
    _spec((obj.get("spec") or {}).get("spec") or {})


def _spec(spec: Object) -> None:
    for request in (spec.get("devices") or {}).get("requests") or ():
        asked = [request["exactly"]] if request.get("exactly") is not None else []
        for each in (*asked, *(request.get("firstAvailable") or ())):
            each["allocationMode"] = each.get("allocationMode") or "ExactCount"
            if each["allocationMode"] == "ExactCount":
                each["count"] = each.get("count") or 1
            for toleration in each.get("tolerations") or ():
                toleration["operator"] = toleration.get("operator") or "Equal"


def _slice(obj: Object) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for device in (obj.get("spec") or {}).get("devices") or ():
        for taint in device.get("taints") or ():
            taint.setdefault("timeAdded", now)


RULES = {(GROUP, "resourceclaims"): _claim, (GROUP, "resourceclaimtemplates"): _template, (GROUP, "resourceslices"): _slice}
