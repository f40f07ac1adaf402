"""Estimates of what expressions cost; the figures are those of upstream's own estimator (apiextensions-apiserver 0.37.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.cel import bounds, estimate, tree, typed
from moorings_core.cel.ranges import ENDLESS, Range

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


def short(most):
    return {"type": "string", "maxLength": most}


def array(items, most=None):
    return {"type": "array", "items": items, **({} if most is None else {"maxItems": most})}


def keyed(values, most=None):
    return {"type": "object", "additionalProperties": values, **({} if most is None else {"maxProperties": most})}


def fields(**given):
    return {"type": "object", "properties": given}


SCHEMA = fields(
    s=TEXT,
    t=short(10),
    e={"type": "string", "enum": ["a", "bcd"]},
    b={"type": "string", "format": "byte"},
    d={"type": "string", "format": "duration"},
    dt={"type": "string", "format": "date-time"},
    da={"type": "string", "format": "date"},
    i=NUMBER,
    n={"type": "number"},
    f={"type": "boolean"},
    ios={"x-kubernetes-int-or-string": True},
    ls=array(TEXT),
    lt=array(short(7), 5),
    li=array(NUMBER, 100),
    lli=array(array(NUMBER)),
    lls=array(array(TEXT, 4), 3),
    ms=keyed(TEXT),
    mi=keyed(NUMBER, 9),
    mls=keyed(array(TEXT)),
    mm=keyed(keyed(TEXT), 4),
    o={**fields(x=TEXT, y=array(fields(k=TEXT, v=short(3)), 20)), "required": ["x"]},
    lo=array({**fields(name=TEXT, p=array(TEXT), n=fields(q=fields(r=TEXT, r2=short(2)))), "required": ["name"]}),
)
COSTS = [
    ('true', 0),
    ('self.i == 1', 2),
    ('self.s == self.t', 8),
    ("self.t.matches('[a-z]*')", 12),
    ("self.s.matches('[a-z]*')", 629148),
    ('self.s.startsWith(self.t)', 8),
    ('self.s.contains(self.t)', 1258296),
    ('size(self.s) > 3', 4),
    ("self.lt.all(x, x == 'abcd')", 28),
    ('self.ls.all(x, self.lt.all(y, x == y))', 48234453),
    ("self.lt.exists_one(x, x == 'a')", 24),
    ('self.lt.map(x, x + x).size() > 3', 115),
    ("self.lt.map(x, x.size() > 1, x).exists(y, y == 'b')", 119),
    ("self.ms.all(k, k.startsWith('a'))", 1966078),
    ("self.ms.all(k, self.ms[k].startsWith('a'))", 3145723),
    ('self.ms.all(k, v, v == k)', 1966078),
    ("self.lt.all(i, v, v == 'a')", 28),
    ('self.mi.transformMap(k, v, v + 1).size() > 1', 80),
    ('self.mi.transformList(k, v, k).size() > 1', 132),
    ('self.lli.all(x, x.all(y, y > 1))', 8246329344003),
    ('self.lli.all(x, x.exists(y, y + 1 == 2))', 11544858984453),
    ("self.lls.all(x, x.exists(y, y + 'a' == 'aa'))", 3774966),
    ('self.lls[0].size() == 2', 5),
    ("self.mls.all(k, self.mls[k].all(y, y == 'a'))", 2061580238848),
    ("self.mm.all(k, self.mm[k].all(y, y == 'a'))", 6291475),
    ('self.o.x == self.o.y[0].k', 314581),
    ('self.lo.all(z, z.p.all(w, w == z.name))', 239456429379654083),
    ('self.lo.all(z, z.n.q.r == z.n.q.r2)', 2903739),
    ("has(self.s) ? self.s == 'a' : self.t == 'b'", 4),
    ("(has(self.ls) ? self.ls : self.lt).all(x, x == 'a')", 4194304),
    ("['a','bb'].all(x, x == self.s)", 23),
    ("{'a': 1, 'b': 2}.all(k, k == self.t)", 43),
    ("{'a': 'x', 'b': 'yy'}.all(k, v, v == self.s)", 43),
    ('self.s in self.ls', 1048579),
    ("self.t in ['a','b','c']", 15),
    ('self.i in self.li', 104),
    ('(self.lt + self.ls).size() > 3', 7),
    ('string(self.b) == self.s', 629150),
    ("self.d < duration('1h')", 4),
    ("self.dt < timestamp('2020-01-01T00:00:00Z')", 4),
    ("type(self.ios) == int ? self.ios < 5 : self.ios.matches('a')", 314579),
    ('self.ios == 1', 3),
    ("string(self.ios).matches('[0-9]+')", 943721),
    ('self.lt.isSorted()', 22),
    ('self.li.max() > self.li.min()', 205),
    ("self.s.indexOf('a') == 1", 314576),
    ("self.s.indexOf('a', 2) == 1", 314576),
    ('self.s.lowerAscii() == self.t', 314581),
    ("self.s.replace('a', 'bb') == self.t", 629154),
    ("self.t.replace('a', 'bbb', 2) == self.s", 24),
    ("self.s.split(',').all(x, x == 'a')", 13212053),
    ("self.s.split(',', 5).all(x, x.matches('a'))", 629174),
    ('self.ls.join(self.t).size() > 1', 329857158347),
    ("self.t.charAt(1) == 'a'", 4),
    ("self.s.find('[0-9]+') == 'a'", 629149),
    ("self.s.findAll('[0-9]+').all(x, x == 'a')", 13212053),
    ("self.t.format([self.s]) == 'a'", 19),
    ('isURL(self.s)', 3),
    ("url(self.t) == url('https://a')", 8),
    ('cidr(self.s).containsIP(self.t)', 314585),
    ('cidr(self.s).ip().isLoopback()', 314577),
    ("quantity(self.s).isGreaterThan(quantity('1'))", 314577),
    ("quantity(self.t) == quantity('1')", 8),
    ('semver(self.s).compareTo(semver(self.t)) > 0', 314583),
    ("sets.contains(self.ls, ['a'])", 1048588),
    ('sets.equivalent(self.lt, self.lt)', 55),
    ('self.lt.reverse() == self.lt', 21),
    ("self.ls.slice(0, 3).all(x, x == 'a')", 29),
    ('self.lo.sortBy(z, z.name).size() > 1', 122965427947),
    ('self.ls.first().hasValue()', 4),
    ("self.ls[?0].orValue('') == 'a'", 5),
    ("self.?s.optMap(x, x + 'a').orValue('') == self.t", 1844674407370955289),
    ('dyn(self.s) == self.t', 9),
    ('self.ls[0] == self.ls[1]', 314579),
]  # fmt: skip


def most(expression, schema=SCHEMA, *, root=False, optional=()):
    compiled = typed.compiled(expression, {"self": schema, "oldSelf": schema}, optional=optional)
    bound = bounds.bound(schema, root=root)
    assert bound is not None
    return estimate.cost(tree.read(compiled), {"self": bound, "oldSelf": bound}).most


@pytest.mark.parametrize(("expression", "cost"), COSTS)
def test_an_expression_costs_what_upstream_estimates(expression, cost):
    assert most(expression) == cost


@pytest.mark.parametrize(
    ("expression", "cost"),
    [
        ("!(self.lls[0].filter(v, true).isSorted())", 7378697629483821127),
        ("self.mls['a'].reverse().isSorted()", 18446744073709551615),
        ("self.t.lowerAscii().substring(1) < (self.f ? self.lls[2] : self.mls['a']).join(',')", 1844674407370955283),
        ("self.i >= self.lli[2].sort().size()", 4947796033556),
        ("(self.lls[0] + self.lls[1]).isSorted()", 14757395258967642127),
    ],
)
def test_lists_in_lists_have_the_types_of_their_schema(expression, cost):
    assert most(expression) == cost


@pytest.mark.parametrize(
    ("expression", "cost"),
    [
        ("oldSelf.hasValue() ? oldSelf.value().s == self.s : true", 7),
        ("oldSelf.orValue(self).ls.all(x, x == 'a')", 5),
    ],
)
def test_an_old_value_that_may_be_missing_has_no_size(expression, cost):
    assert most(expression, optional=("oldSelf",)) == cost


@pytest.mark.parametrize(
    ("schema", "largest"),
    [
        (array(TEXT, 3), 3),
        (array(TEXT), (3 * 1024 * 1024 - 2) // 3),
        (keyed(NUMBER), (3 * 1024 * 1024 - 2) // 7),
        (short(5), 20),
        ({"type": "string", "enum": ["a", "bcd"]}, 3),
        ({"type": "string", "format": "duration"}, 32),
        ({"type": "string", "format": "byte", "maxLength": 5}, 5),
        (array({**fields(name=TEXT), "required": ["name"]}), (3 * 1024 * 1024 - 2) // (2 + 4 + 2 + 4 + 1)),
    ],
)
def test_a_value_is_as_large_as_its_schema_or_a_request_allows(schema, largest):
    bound = bounds.bound(schema)
    assert bound is not None
    assert bound.most == largest


def test_what_expressions_do_not_see_has_no_bound():
    open_field = {"x-kubernetes-preserve-unknown-fields": True}
    found = bounds.bound(fields(a=open_field, b=array(open_field), c=TEXT))
    assert found is not None
    assert list(found.fields) == ["c"]


def test_a_whole_object_has_a_name_of_253_bytes_at_most():
    found = bounds.bound(fields(spec=TEXT), root=True)
    assert found is not None
    assert found.fields["metadata"].fields["name"].most == 4 * 253


RANGES = st.builds(lambda a, b: Range(min(a, b), max(a, b)), *2 * [st.integers(0, ENDLESS)])


@given(RANGES, RANGES)
def test_ranges_stay_ranges(one, other):
    for made in (one.plus(other), one.times(other), one.union(other), one.by(0.1), one.by(250.0)):
        assert 0 <= made.least <= made.most <= ENDLESS
