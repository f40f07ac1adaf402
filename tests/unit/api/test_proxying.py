"""Answers through a proxy subresource: links and redirections lead back to it."""

import gzip

import pytest

from moorings_core.api.http.message import Request, Response
from moorings_core.api.proxying import answered, led_back, page_led_back, prefix_of, to_root

PREFIX = "/api/v1/namespaces/d/pods/web:80/proxy"
HOSTS = ("10.64.0.1:80", "api.example:6443")


def request(target, method="GET", **headers):
    return Request(method, target, {"host": HOSTS[1]} | headers, b"", {})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/a/b?x=1#y", f"{PREFIX}/a/b?x=1#y"),
        ("/", f"{PREFIX}/"),
        ("/a/", f"{PREFIX}/a/"),
        ("a/b", "a/b"),
        ("#top", "#top"),
        ("http://10.64.0.1:80/a", f"{PREFIX}/a"),
        ("https://api.example:6443/a", f"{PREFIX}/a"),
        ("http://elsewhere.example/a", "http://elsewhere.example/a"),
        (f"{PREFIX}/a", f"{PREFIX}/a"),
        ("http://[broken/", "http://[broken/"),
    ],
)
def test_urls(url, expected):
    assert led_back(url, PREFIX, HOSTS) == expected


def test_links_of_a_page_are_led_back_and_the_rest_stays_byte_for_byte():
    page = '<!DOCTYPE html><p title="/t">\xe9</p><A class=x HREF="/a?b=1&amp;c=2">/a</A><img src=\'/i.png\'><script src=/s.js>"/x"</script>'
    found = page_led_back(page.encode(), {"content-type": "text/html"}, PREFIX, HOSTS).decode()
    expected = page.replace('"/a?b=1&amp;c=2"', f'"{PREFIX}/a?b=1&amp;c=2"').replace("'/i.png'", f'"{PREFIX}/i.png"')
    assert found == expected.replace("src=/s.js", f'src="{PREFIX}/s.js"')
    packed = page_led_back(gzip.compress(page.encode()), {"content-encoding": "gzip"}, PREFIX, HOSTS)
    assert gzip.decompress(packed).decode() == found


def test_where_the_prefix_ends():
    assert prefix_of(f"{PREFIX}/proxy/a%2Fb") == PREFIX
    assert prefix_of("/api/v1/nodes/n:10250/proxy/proxy/") == "/api/v1/nodes/n:10250/proxy"


def test_who_asks_for_the_resource_itself_is_sent_to_its_root():
    found = to_root(request(f"{PREFIX}?a=b"), "")
    assert found is not None and (found.status, found.headers["location"]) == (301, f"{PREFIX}/?a=b")
    assert to_root(request(f"{PREFIX}/"), "") is None and to_root(request(f"{PREFIX}/x"), "x") is None
    assert to_root(request(PREFIX, "POST"), "") is None and to_root(request(PREFIX, connection="Upgrade"), "") is None


async def read(response):
    return b"".join([part async for part in response.stream])


@pytest.mark.parametrize(("kind", "changed"), [("text/html; charset=utf-8", True), ("text/plain", False)])
async def test_only_pages_are_changed_and_redirections_always(kind, changed):
    async def body():
        for part in (b"<a hr", b'ef="/x">x</a>'):
            yield part

    response = await answered(Response(200, headers={"content-type": kind}, stream=body()), request(f"{PREFIX}/"), HOSTS[0])
    assert await read(response) == (f'<a href="{PREFIX}/x">x</a>' if changed else '<a href="/x">x</a>').encode()
    moved = await answered(Response(302, headers={"location": "/login"}), request(f"{PREFIX}/"), HOSTS[0])
    assert moved.headers["location"] == f"{PREFIX}/login"
