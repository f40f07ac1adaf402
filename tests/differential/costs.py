"""What CEL rules may cost: definitions whose rules are cheap, too dear each, too dear together, and objects that spend what is left."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from .cases import MERGE, Case, obj, path
from .custom import API, STRING, Schema, definition
from .peers import Request

MATCHES, NESTED = "self.matches('^([a-z]+[0-9]+)+$')", "self.all(a, self.all(b, a == b))"
MAYBE = "!oldSelf.hasValue() || oldSelf.value().all(a, a in self)"


def _rules(*rules: str, **more: Any) -> Schema:
    return {"x-kubernetes-validations": [{"rule": rule, **more} for rule in rules]}


def _list(items: Schema, most: int | None = None, **more: Any) -> Schema:
    return {"type": "array", "items": items, **({} if most is None else {"maxItems": most}), **more}


def _map(values: Schema, most: int | None = None, **more: Any) -> Schema:
    return {"type": "object", "additionalProperties": values, **({} if most is None else {"maxProperties": most}), **more}


def _object(**fields: Schema) -> Schema:
    return {"type": "object", "properties": fields}


SHORT = {"type": "string", "maxLength": 20}
NUMBER = {"type": "integer"}
ONE: dict[str, Schema] = {
    "a cheap rule": {**NUMBER, **_rules("self > 1 && self < 10")},
    "a text without a limit against a pattern": {**STRING, **_rules(MATCHES)},
    "a short text against a pattern": {**SHORT, **_rules(MATCHES)},
    "a choice against a pattern": {"type": "string", "enum": ["a1", "b2"], **_rules(MATCHES)},
    "a list without a limit in itself": _list(STRING, **_rules(NESTED)),
    "a short list in itself": _list(SHORT, 10, **_rules(NESTED)),
    "a middling list in itself": _list(SHORT, 2200, **_rules(NESTED)),
    "a list thrice in itself": _list(NUMBER, 300, **_rules("self.all(a, self.exists(b, self.exists(c, a + b == c)))")),
    "items of a list without a limit": _list({**STRING, **_rules("self == 'a'")}),
    "items against a pattern": _list({**SHORT, **_rules(MATCHES)}),
    "items of a short list against a pattern": _list({**SHORT, **_rules(MATCHES)}, 10),
    "values of a map without a limit": _map({**STRING, **_rules("self.startsWith('a')")}),
    "values of a map against a pattern": _map({**SHORT, **_rules(MATCHES)}),
    "values of a small map": _map({**SHORT, **_rules(MATCHES)}, 5),
    "lists in lists": _list(_list(STRING, **_rules("self.all(a, a == 'x')"))),
    "lists in lists from above": _list(_list(STRING), **_rules("self.all(a, a.all(b, b == 'x'))")),
    "short lists in lists": _list(_list(SHORT, 5, **_rules("self.all(a, a == 'x')")), 5),
    "a rule below a map and a list": _map(_list({**_object(name=STRING), **_rules("self.name != 'a'")}), 5),
    "objects in a list": _list({**_object(name=STRING, ports=_list(NUMBER)), **_rules("self.ports.all(p, p > 0)")}),
    "what needs fields": _list({**_object(name=STRING), "required": ["name"], **_rules("self.name.size() > 3")}),
    "a cheap message": {**NUMBER, **_rules("self > 1", messageExpression="'have ' + string(self)")},
    "a dear message": _list(STRING, **_rules("self.size() < 3", messageExpression="self.map(a, self.map(b, a + b).join(',')).join(',')")),
    "a message that is no text": {**NUMBER, **_rules("self > 1", messageExpression="self")},
    "a message of unknown fields": {**_object(a=NUMBER), **_rules("self.a > 1", messageExpression="self.b")},
    "an old value": _list(SHORT, **_rules("oldSelf.all(a, a in self)")),
    "an old value that may be missing": _list(SHORT, **_rules(MAYBE, optionalOldSelf=True)),
    "what has more than one rule": _list(SHORT, 100, **_rules(NESTED, "self.size() > 1", "self.all(a, a.size() > 1)")),
    "moments": _list({"type": "string", "format": "date-time"}, **_rules("self.all(a, self.exists(b, a < b))")),
    "bytes": {"type": "string", "format": "byte", **_rules("self == b'abc' || self.size() > 3")},
    "an open number": {"x-kubernetes-int-or-string": True, **_rules("type(self) == int ? self > 1 : self.matches('a+')")},
    "numbers of other types": {**_object(a=NUMBER, b={"type": "number"}), **_rules("self.a < self.b && self.b > 1")},
    "functions of Kubernetes": {**_object(a=STRING, b=SHORT), **_rules("isURL(self.a) && quantity(self.b).isInteger() && isIP(self.a)")},
    "what is not known": {**NUMBER, **_rules("cel.bind(a, self, a > 1)", "math.greatest(self, 1) > 1")},
    "sorted lists": _list(STRING, **_rules("self.isSorted()", "self.indexOf('a') < 3", "self.distinct().size() == self.size()")),
    "parts of texts": {**STRING, **_rules("self.split(',').all(a, a.lowerAscii() == a)", "self.replace('a', 'bbb').size() < 10")},
    "an embedded object": {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
        **_rules("self.metadata.name.matches('a+') && self.kind != 'Pod'"),
    },
}  # fmt: skip
DEAR: Schema = {**SHORT, **_rules("self.matches('" + "a" * 400 + "')")}
MANY: dict[str, Schema] = {
    "many rules that are too dear together": _object(
        **{f"f{i}": _list({**SHORT, **_rules("self != 'a'", "self != 'b'")}) for i in range(2)}
    ),
    "five dear rules": _object(**{f"f{i}": _list(DEAR, 9000 + 20 * i) for i in range(15)}),
    "rules of the object itself": {**_object(spec=_list(SHORT)), **_rules("self.spec.all(a, a != self.metadata.name)")},
}

DOMAIN = "device.attributes['dra.example.com']"
SELECTED = {
    "by an attribute": f"{DOMAIN}.model == 'a' && {DOMAIN}.count > 3",
    "by a bound domain": f"cel.bind(dra, {DOMAIN}, dra.one && dra.two)",
    "by a capacity": "device.capacity['dra.example.com'].memory.compareTo(quantity('1Gi')) >= 0",
    "by an equal capacity": "device.capacity['dra.example.com'].memory == quantity('1Gi')",
    "by all attributes": "device.attributes.all(d, device.attributes[d].all(n, n != 'a'))",
    "by attributes of attributes": "device.attributes.exists(d, device.attributes.exists(e, device.attributes[d].exists(n, n == e)))",
    "by much": "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a == b && c == d))))",
    "by a pattern": f"device.driver.matches('(a+)+') && {DOMAIN}.model.matches('b+')",
    "by many words": "['" + "', '".join(["x" * 60] * 40) + f"'].exists(w, {DOMAIN}.model.contains(w))",
    "by a loop over words": "lists.range(2000).all(i, device.attributes.all(d, d.matches('(a+)+')))",
    "by what can be asked of several": "device.allowMultipleAllocations == true || device.driver.startsWith('a')",
    "by no bool": "device.driver",
    "by a list": "[1, 2].map(x, x)",
}


def costs() -> Iterator[Case]:
    """Yield every case of this file."""
    group = "costs.example.com"
    for name, schema in ONE.items():
        yield f"costs: {name}", [_made(group, _object(spec=_object(a=schema)))]
    for name, schema in MANY.items():
        yield f"costs: {name}", [_made(group, schema)]
    yield "costs: a definition that changes", _changed()
    for name, expression in SELECTED.items():
        spec = {"selectors": [{"cel": {"expression": expression}}]}
        where = f"{path('resource.k8s.io/v1', 'deviceclasses', namespace='')}?dryRun=All"
        yield f"costs: devices {name}", [Request("POST", where, obj("resource.k8s.io/v1", "DeviceClass", "costs", spec=spec))]


def _made(group: str, schema: Schema) -> Request:
    crd = definition(group, schema=schema, subresources=None, selectableFields=None, additionalPrinterColumns=None)
    return Request("POST", f"{path(API, 'customresourcedefinitions', namespace='')}?dryRun=All", crd)


def _changed() -> list[Request]:
    """A rule that gets dearer by the limit that goes."""
    group = "changing.example.com"
    crd = definition(group, schema=_object(spec=_list(SHORT, 10, **_rules(NESTED))), subresources=None, selectableFields=None)
    crd["spec"]["versions"][0].pop("additionalPrinterColumns", None)
    where = path(API, "customresourcedefinitions", f"things.{group}", "")
    wider = copy.deepcopy(crd["spec"]["versions"])
    del wider[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["maxItems"]
    return [
        Request("POST", path(API, "customresourcedefinitions", namespace=""), crd),
        Request("PATCH", where, {"spec": {"versions": wider}}, MERGE),
        Request("PATCH", where, {"metadata": {"labels": {"a": "b"}}}, MERGE),
        Request("DELETE", where),
    ]
