"""What client-go relies on, over HTTPS: versions, watches that end with 410, streaming lists, pages, forms of answers, caching."""

from __future__ import annotations

import asyncio
import json

from .raw_client import JSON, Client

MAPS = "/api/v1/namespaces/default/configmaps"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def config(name, **data):
    return {"metadata": {"name": name}, "data": data}


async def events(ask, path, count):
    """The first events of a watch."""
    found = []
    async with asyncio.timeout(20), ask.open("GET", path) as answer:
        assert answer.status == 200
        async for line in answer.content:
            if line.strip():
                found.append(json.loads(line))
            if len(found) == count:
                return found
    return found


async def test_a_watch_from_before_a_restart_is_told_to_list_again_and_versions_go_on(api):
    async with Client(api) as ask:
        made = (await ask("POST", MAPS, config("a")))[1]
    await api.kill()
    await api.start()
    async with Client(api) as ask:
        (event,) = await events(ask, f"{MAPS}?watch=true&resourceVersion=1", 1)
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        later = (await ask("POST", MAPS, config("b")))[1]
        assert int(later["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
        newest = (await ask("GET", MAPS))[1]["metadata"]["resourceVersion"]
        watching = asyncio.create_task(events(ask, f"{MAPS}?watch=true&resourceVersion={newest}", 2))
        await ask("DELETE", f"{MAPS}/a")
        await ask("POST", MAPS, config("c"))
        assert [(e["type"], e["object"]["metadata"]["name"]) for e in await watching] == [("DELETED", "a"), ("ADDED", "c")]


async def test_a_streaming_list_ends_with_its_bookmark_and_goes_on_as_a_watch(api):
    query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with Client(api) as ask:
        await ask("POST", MAPS, config("a"))
        watching = asyncio.create_task(events(ask, f"{MAPS}?{query}", 3))
        first = (await events(ask, f"{MAPS}?{query}", 2))[1]
        assert first["type"] == "BOOKMARK"
        assert first["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await ask("PUT", f"{MAPS}/a", config("a", x="1"))
        assert [e["type"] for e in await watching] == ["ADDED", "BOOKMARK", "MODIFIED"]


async def test_a_watch_ends_when_its_time_is_over(api):
    async with Client(api) as ask:
        assert await events(ask, f"{MAPS}?watch=true&timeoutSeconds=1&resourceVersion=0", 100) == []


async def test_a_version_that_is_not_there_yet_is_refused_for_now(api):
    async with Client(api) as ask:
        code, answer = await ask("GET", f"{MAPS}?resourceVersion=999999")
        assert (code, answer["details"]["retryAfterSeconds"]) == (504, 1)
        assert answer["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_a_list_is_paged_by_its_token(api):
    async with Client(api) as ask:
        for number in range(5):
            await ask("POST", MAPS, config(f"c{number}"))
        seen, token = [], ""
        while True:
            page = (await ask("GET", f"{MAPS}?limit=2&continue={token}"))[1]
            seen.append([i["metadata"]["name"] for i in page["items"]])
            token = page["metadata"].get("continue", "")
            if not token:
                break
        assert seen == [["c0", "c1"], ["c2", "c3"], ["c4"]]


async def test_answers_take_the_form_that_is_asked_for(api):
    async with Client(api) as ask:
        await ask("POST", MAPS, config("a", secret="x"))
        table = (await ask("GET", MAPS, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}))[1]
        assert (table["kind"], [r["cells"][:2] for r in table["rows"]]) == ("Table", [["a", 1]])
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        only = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
        listed = (await ask("GET", MAPS, headers=only))[1]
        assert listed["kind"] == "PartialObjectMetadataList"
        assert "data" not in listed["items"][0]
        as_table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        async with ask.open("GET", f"{MAPS}?watch=true&resourceVersion=0", headers=as_table) as answer:
            event = json.loads(await anext(_first(answer.content)))
        assert (event["type"], event["object"]["kind"]) == ("ADDED", "Table")


async def _first(lines):
    async for line in lines:
        if line.strip():
            yield line
            return


async def test_discovery_says_what_it_is_and_is_cached_by_its_tag(api):
    async with Client(api) as ask:
        async with ask.open("GET", "/apis", headers={"Accept": AGGREGATED}) as answer:
            assert answer.headers["Content-Type"] == AGGREGATED
            groups, tag = await answer.json(content_type=None), answer.headers["ETag"]
        assert "apps" in {g["metadata"]["name"] for g in groups["items"]}
        async with ask.open("GET", "/apis", headers={"Accept": AGGREGATED, "If-None-Match": tag}) as answer:
            assert answer.status == 304
        legacy = (await ask("GET", "/apis"))[1]
        assert legacy["kind"] == "APIGroupList"
        resources = {r["name"] for r in (await ask("GET", "/api/v1"))[1]["resources"]}
        assert {"pods", "pods/eviction", "pods/status", "nodes"} <= resources


async def test_warnings_come_as_headers(api):
    async with Client(api) as ask, ask.open("POST", MAPS, json.dumps({**config("a"), "dat": 1}), JSON) as answer:
        assert answer.status == 201
        assert answer.headers["Warning"] == '299 - "unknown field \\"dat\\""'


async def test_64_json_patches_at_once_all_count(api):
    async with Client(api) as ask:
        await ask("POST", MAPS, config("a", base="x"))
        patch = {"Content-Type": "application/json-patch+json"}
        asked = (ask("PATCH", f"{MAPS}/a", [{"op": "add", "path": f"/data/k{n}", "value": "v"}], patch) for n in range(64))
        assert {code for code, _ in await asyncio.gather(*asked)} == {200}
        assert len((await ask("GET", f"{MAPS}/a"))[1]["data"]) == 65
