"""The store at the edge: what is asked of an engine, and what is refused before."""

import orjson
import pytest

from runs.api import schema
from runs.calls import CallRefused, NoEngine
from tests.api.engine import ITEM
from tests.api.problems import named

PLACE = {"namespace": ["a", "b"], "key": "c"}


def test_answers_have_their_keys(client, engine):
    item = client.get("/store/items?namespace=a.b&key=c").json()
    schema.Item.model_validate(item)
    assert item == ITEM
    schema.FoundItems.model_validate(client.post("/store/items/search", {"namespace_prefix": []}).json())
    schema.Namespaces.model_validate(client.post("/store/namespaces", {}).json())
    for answer in (client.put("/store/items", {**PLACE, "value": {}}), client.delete("/store/items", PLACE)):
        assert (answer.status_code, answer.content) == (204, b"")


def test_an_item_that_is_not_there_is_null(client, engine):
    engine.answers["get_item"] = None
    answer = client.get("/store/items?namespace=a&key=c")
    assert (answer.status_code, answer.content) == (200, b"null")


def test_what_is_asked_of_the_engine_is_what_the_caller_asked(client, alice, acme, engine):
    client.put("/store/items", {**PLACE, "value": {"n": 1}, "index": ["n"], "ttl": 5})
    client.put("/store/items", {**PLACE, "value": {}, "index": False, "ttl": None})
    client.get("/store/items?namespace=a.b&key=c.d")
    client.get("/store/items?namespace=a.b&key=c&refresh_ttl=false")
    client.delete("/store/items", PLACE)
    client.post("/store/items/search", {"namespace_prefix": ["a"], "filter": {"n": {"$gt": 1}}, "query": "x"})
    client.post("/store/namespaces", {"prefix": ["a", "*"], "suffix": [], "max_depth": 3})
    assert {(asked["organization_id"], asked["user_id"]) for _, asked in engine.questions} == {
        (str(acme.pk), str(alice.pk))
    }
    put, plain, got, kept, deleted, found, listed = [asked for _, asked in engine.questions]
    assert (put["namespace"], put["key"], put["value"], put["index"], put["ttl"]) == (
        ["a", "b"],
        "c",
        {"n": 1},
        ["n"],
        5,
    )
    assert (plain["index"], plain["ttl"]) == (False, None)
    assert (got["namespace"], got["key"], got["refresh_ttl"], kept["refresh_ttl"]) == (["a", "b"], "c.d", None, False)
    assert (deleted["namespace"], deleted["key"]) == (["a", "b"], "c")
    assert (found["namespace_prefix"], found["filter"], found["limit"]) == (["a"], {"n": {"$gt": 1}}, 10)
    assert (listed["prefix"], listed["max_depth"], listed["limit"]) == (["a", "*"], 3, 100)


@pytest.mark.parametrize(
    "labels",
    [
        [],
        [""],
        ["a", ""],
        ["a.b"],
        ["langgraph"],
        ["x" * 1025],
        ["é" * 513],
        ["x"] * 21,
        "a",
        [1],
        [None],
        [["a"]],
        None,
    ],
    ids=lambda labels: str(labels)[:30],
)
def test_a_namespace_that_is_none_is_named(client, engine, labels):
    assert named(client.put("/store/items", {"namespace": labels, "key": "c", "value": {}}), "body", "namespace")
    assert named(client.delete("/store/items", {"namespace": labels, "key": "c"}), "body", "namespace")
    if labels not in ([], ["langgraph"], None):
        assert named(client.post("/store/items/search", {"namespace_prefix": labels}), "body", "namespace_prefix")
        assert named(client.post("/store/namespaces", {"prefix": labels}), "body", "prefix")
        assert named(client.post("/store/namespaces", {"suffix": labels}), "body", "suffix")
    assert engine.questions == []


def test_a_label_with_a_period_is_told_so(client, engine):
    [problem] = client.put("/store/items", {"namespace": ["a.b"], "key": "c", "value": {}}).json()["detail"]
    assert problem["msg"].endswith("Namespace label 'a.b' must be a non-empty string without periods")


@pytest.mark.parametrize(
    "query",
    ["", "namespace=a", "key=c", "namespace=&key=c", "namespace=a..b&key=c", "namespace=a&key=c&refresh_ttl=maybe"],
)
def test_a_query_that_names_no_item_is_refused(client, engine, query):
    assert client.get(f"/store/items?{query}").status_code == 422
    assert engine.questions == []


@pytest.mark.parametrize("key", ["%00", "x" * 1025, "%F0%9F%92%A9" * 257])
def test_a_key_of_a_query_that_is_none_is_named(client, engine, key):
    assert named(client.get(f"/store/items?namespace=a&key={key}"), "query", "key")
    assert named(client.get(f"/store/items?namespace={key}&key=c"), "query", "namespace")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", ""),
        ("key", 1),
        ("key", "é" * 513),
        ("value", []),
        ("value", None),
        ("value", "text"),
        ("value", {"text": "x" * 2**20}),
        ("index", True),
        ("index", "text"),
        ("index", [""]),
        ("index", ["x" * 256]),
        ("index", ["x"] * 51),
        ("ttl", 0),
        ("ttl", -1),
        ("ttl", "5"),
        ("ttl", 1e9),
        ("ttl", True),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_put_that_is_wrong_is_named(client, engine, field, value):
    assert named(client.put("/store/items", {**PLACE, "value": {}, field: value}), "body", field)
    assert engine.questions == []


@pytest.mark.parametrize(
    "filter",
    [
        {"') OR 1=1--": 1},
        {"": 1},
        {"a b": 1},
        {"a\n": 1},
        {'"': 1},
        {"é": 1},
        {"x" * 256: 1},
        {"a": {"$where": 1}},
        {"a": {"$gt": 1, "b": 2}},
        {"a": {"$gt": True}},
        {"a": {"$lt": None}},
        {"a": {"$gte": []}},
        {f"k{number}": 1 for number in range(51)},
        [],
    ],
    ids=lambda filter: str(filter)[:30],
)
def test_a_filter_that_is_none_is_named(client, engine, filter):
    response = client.post("/store/items/search", {"namespace_prefix": [], "filter": filter})
    assert named(response, "body", "filter")
    assert engine.questions == []


def test_what_the_engine_refuses_is_the_answer(client, engine):
    engine.error = CallRefused(422, "Too many texts.")
    assert client.put("/store/items", {**PLACE, "value": {}}).json()["detail"][0]["msg"] == "Too many texts."
    engine.error = NoEngine()
    for answer in (
        client.put("/store/items", {**PLACE, "value": {}}),
        client.get("/store/items?namespace=a&key=c"),
        client.post("/store/items/search", {"namespace_prefix": []}),
    ):
        assert (answer.status_code, answer["Retry-After"]) == (503, "1")


def test_a_delete_of_a_body_that_is_not_json_is_refused(client, engine):
    assert client.generic("DELETE", "/store/items", b"{", content_type="application/json").status_code == 400
    assert client.generic("DELETE", "/store/items", b"", content_type="application/json").status_code == 422
    assert client.generic("DELETE", "/store/items", orjson.dumps(PLACE), content_type="text/plain").status_code == 415
    assert engine.questions == []
