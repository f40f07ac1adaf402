"""Kubernetes CEL: what expressions give, and what is wrong with those that can't be used."""

import pytest

from moorings_core import cel
from moorings_core.cel.library.authorization import authorizer

VALUES = {
    "quantity('15').asInteger()": 15,
    "quantity('1000m') == quantity('1')": True,
    "quantity('50k').add(20) == quantity('50020')": True,
    "quantity('50k').add(20).sub(quantity('100k')).sub(-50000) == quantity('20')": True,
    "quantity('1Gi').isGreaterThan(quantity('1G'))": True,
    "quantity('1').isLessThan(quantity('500m'))": False,
    "quantity('1').compareTo(quantity('2'))": -1,
    "quantity('9999999999999999999999999999999999999G').isInteger()": False,
    "sign(quantity('-2'))": -1,
    "isQuantity('1.3Gi') && !isQuantity('1,3G') && !isQuantity('Three')": True,
    "quantity('1500m').asApproximateFloat()": 1.5,
    "semver('1.2.3').isLessThan(semver('1.2.10'))": True,
    "semver('1.0.0-alpha.1').compareTo(semver('1.0.0'))": -1,
    "semver('v1.0', true).minor()": 0,
    "isSemver('v1.0')": False,
    "isSemver('v1.0', true)": True,
    "[3, 1].sum() + 1": 5,
    "[1.5, 2.0].sum()": 3.5,
    "[1, 3].isSorted() && !['b', 'a'].isSorted()": True,
    "[3, 1].min() == 1 && ['a', 'b'].max() == 'b'": True,
    "[3, 1, 3].indexOf(3) == 0 && [3, 1, 3].lastIndexOf(3) == 2 && [1].indexOf(5) == -1": True,
    "'abcabc'.indexOf('c') == 2 && 'abcabc'.lastIndexOf('c') == 5 && 'abcabc'.indexOf('c', 3) == 5": True,
    "'abc'.charAt(1) + 'abc'.substring(1, 2) + 'abc'.substring(2)": "bbc",
    "'a,b'.split(',').join('-')": "a-b",
    "'a,b,c'.split(',', 2)": ["a", "b,c"],
    "' Tacocat '.trim().lowerAscii().replace('c', 'k', 1)": "takocat",
    "'%s has %d of %.1f'.format(['x', 3, 2.5])": "x has 3 of 2.5",
    "'abc 123'.find('[0-9]+')": "123",
    "'123 abc 456'.findAll('[0-9]+')": ["123", "456"],
    "'123 abc 456'.findAll('[0-9]+', 1)": ["123"],
    "url('https://u@example.com:80/p%20x?q=1').getHost()": "example.com:80",
    "url('https://[::1]:80/').getHostname()": "::1",
    "url('/p%20x?q=1').getEscapedPath()": "/p%20x",
    "url('https://a/?k=1&k=2').getQuery()['k']": ["1", "2"],
    "isURL('https://a:1/') && !isURL('a/b') && !isURL('https://a b/')": True,
    "ip('::1').family()": 6,
    "isIP('127.0.0.256') || isIP('::ffff:1.2.3.4')": False,
    "ip.isCanonical('2001:DB8::ABCD')": False,
    "ip('127.0.0.1').isLoopback() && ip('169.254.1.1').isLinkLocalUnicast() && ip('10.0.0.1').isGlobalUnicast()": True,
    "cidr('10.0.0.0/8').containsIP('10.1.1.1') && cidr('10.0.0.0/8').containsIP(ip('10.1.1.1'))": True,
    "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.0.0.0/8').containsCIDR(cidr('11.0.0.0/8'))": True,
    "cidr('192.168.0.1/24') == cidr('192.168.0.1/24').masked()": False,
    "cidr('192.168.0.1/24').prefixLength()": 24,
    "jsonpatch.escapeKey('a/b~c')": "a~1b~0c",
    "sets.contains([1, 2], [1]) && sets.intersects(['a'], ['a', 'b']) && sets.equivalent([1, 2], [2, 1])": True,
    "{'a': 1}.?b.orValue(5)": 5,
    "optional.of(1)": 1,
    "optional.none()": None,
    "{'a': 1}.all(k, v, k == 'a' && v == 1)": True,
    "[1, 2].transformList(i, v, v * i)": [0, 2],
    "[1, 2].exists_one(v, v == 1)": True,
    "1 / 0 == 1 || true": True,
    "duration('1h30m').getMinutes()": 90,
    "timestamp('2020-01-02T00:00:00Z') - timestamp('2020-01-01T00:00:00Z') == duration('24h')": True,
    "size('€x')": 2,
    "'a'.matches('^[a-z]$')": True,
}
NO_VALUES = {
    "1 / 0": "division by zero",
    "[1][5]": "index out of bounds: 5",
    "{'a': 1}.b": "no such key: b",
    "quantity('Three')": "quantities must match the regular expression",
    "quantity('1.5').asInteger()": "cannot convert value to integer",
    "[].min()": "min called on empty list",
    "'abc'.charAt(9)": "index out of range: 9",
    "ip('127.0.0.256')": "127.0.0.256",
    "dyn('a') + dyn(1)": "no such overload",
}
NO_EXPRESSIONS = {
    "slef.a": "undeclared reference to 'slef",
    "1 +": "1:4: Syntax error",
    "'a' + 1": "found no matching overload for '_+_' applied to '(string, int)'",
    "unknown(1)": "undeclared reference to 'unknown'",
}


@pytest.mark.parametrize("expression", VALUES)
def test_an_expression_gives_its_value(expression: str) -> None:
    assert cel.compile(expression, {}).evaluate({}) == VALUES[expression]


@pytest.mark.parametrize("expression", NO_VALUES)
def test_an_expression_without_a_value_says_why(expression: str) -> None:
    with pytest.raises(cel.EvaluationError) as caught:
        cel.compile(expression, {}).evaluate({})
    assert NO_VALUES[expression] in str(caught.value)


@pytest.mark.parametrize("expression", NO_EXPRESSIONS)
def test_what_is_no_expression_is_named_with_its_position(expression: str) -> None:
    with pytest.raises(cel.CompileError) as caught:
        cel.compile(expression, {})
    assert NO_EXPRESSIONS[expression] in str(caught.value)
    assert "<input>:1:" in str(caught.value)


def test_variables_are_plain_data() -> None:
    program = cel.compile("self.a > old.a && self.b == null", {"self": cel.DYN, "old": cel.DYN})
    assert program.type == "bool"
    assert program.evaluate({"self": {"a": 2, "b": None}, "old": {"a": 1}}) is True


def test_loops_are_bounded() -> None:
    program = cel.compile("self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", {"self": cel.DYN})
    with pytest.raises(cel.EvaluationError, match="cost limit exceeded"):
        program.evaluate({"self": list(range(100))})


def test_an_expression_asks_the_authorizer() -> None:
    text = "authorizer.group('apps').resource('deployments').namespace('x').name('y').check('get').allowed()"
    asked: list[cel.Attributes] = []

    def ask(attributes: cel.Attributes) -> cel.Decision:
        asked.append(attributes)
        return cel.Decision(allowed=True)

    assert cel.compile(text, {"authorizer": cel.AUTHORIZER}).evaluate({"authorizer": authorizer()}, ask) is True
    assert asked == [cel.Attributes(verb="get", group="apps", resource="deployments", namespace="x", name="y")]


SCHEMA = {
    "type": "object",
    "properties": {
        "count": {"type": "integer"},
        "share": {"x-kubernetes-int-or-string": True},
        "when": {"type": "string", "format": "date-time"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "rows": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "dashed-name": {"type": "string"},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
FITTING = (
    "self.count > oldSelf.count",
    "self.share == 1 || self.share == '5%'",
    "self.when < timestamp('2020-01-01T00:00:00Z')",
    "self.items.all(i, i.name.startsWith('a'))",
    "self.rows.all(r, r.all(c, c == 'x'))",
    "self.labels.all(k, self.labels[k] == 'b') && 'x' in self.labels",
    "has(self.dashed__dash__name)",
    "self.open.anything.goes == 1",
)
UNFITTING = {
    "self.missing > 1": "undefined field 'missing'",
    "self.items.all(i, i.missing == 'a')": "undefined field 'missing'",
    "self.count == 'a'": "found no matching overload for '_==_' applied to '(int, string)'",
    "self.labels['a'] > 1": "found no matching overload",
}


@pytest.mark.parametrize("expression", FITTING)
def test_an_expression_that_fits_its_schema_passes(expression: str) -> None:
    assert cel.check(expression, {"self": SCHEMA, "oldSelf": SCHEMA}) == "bool"


@pytest.mark.parametrize("expression", UNFITTING)
def test_an_expression_that_does_not_fit_its_schema_is_found_without_data(expression: str) -> None:
    with pytest.raises(cel.CompileError) as caught:
        cel.check(expression, {"self": SCHEMA, "oldSelf": SCHEMA})
    assert UNFITTING[expression] in str(caught.value)


def test_values_are_what_their_schema_says() -> None:
    fields = {
        "a-b": {"type": "string"},
        "when": {"type": "string", "format": "date-time"},
        "wait": {"type": "string", "format": "duration"},
        "raw": {"type": "string", "format": "byte"},
        "share": {"type": "number"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"in": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "string", "format": "date"}},
    }
    value = {
        "a-b": "x",
        "when": "2020-05-01T00:00:00Z",
        "wait": "1h30m",
        "raw": "YWI=",
        "share": 1,
        "list": [{"in": "y"}],
        "map": {"a-b": "2020-05-01"},
    }
    expression = """self.a__dash__b == 'x' && self.when == self.map['a-b'] && self.wait == duration('90m') && self.raw == b'ab'
        && self.share + 0.5 == 1.5 && self.list[0].__in__ == 'y'"""
    schema = {"type": "object", "properties": fields}
    assert cel.check(expression, {"self": schema}) == "bool"
    assert cel.compile(expression, {"self": cel.DYN}).evaluate({"self": cel.as_values(value, schema)}) is True
