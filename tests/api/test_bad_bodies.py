"""Bodies that no route takes: each is refused with a sentence, and nothing is written."""

import codecs

import pytest

from tests.api.routes import ROUTES
from tests.api.rows import fingerprint, ids_of, make_rows

TAKING_BODIES = [route for route in ROUTES if route.method in ("POST", "PUT", "PATCH") or route.body is not None]

NOT_JSON = {
    "cut": b'{"metadata": {',
    "trailing bytes": b"{} x",
    "two documents": b"{}{}",
    "a comment": b"{} // yes",
    "single quotes": b"{'metadata': {}}",
    "raw control character": b'{"metadata": {"a": "\x01"}}',
    "raw NUL": b'{"metadata": {"a": "\x00"}}',
    "UTF-16": '{"metadata": {}}'.encode("utf-16"),
    "Latin-1": '{"metadata": {"name": "Jérôme"}}'.encode("latin-1"),
    "overlong UTF-8": b'{"metadata": {"a": "\xc0\xaf"}}',
    "encoded surrogate": b'{"metadata": {"a": "\xed\xa0\x80"}}',
    "compressed": codecs.encode(b"{}", "zlib"),
}
NOT_STORABLE = {
    "65 levels": b'{"metadata": {"a": ' + b"[" * 63 + b"]" * 63 + b"}}",
    "1000 levels": b"[" * 1000 + b"]" * 1000,
    "100 000 levels": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100 000 levels, unclosed": b"[" * 100_000,
    "NaN": b'{"metadata": {"a": NaN}}',
    "Infinity": b'{"metadata": {"a": -Infinity}}',
    "1e400": b'{"metadata": {"a": 1e400}}',
    "2**63": b'{"metadata": {"a": 9223372036854775808}}',
    "-2**63 - 1": b'{"metadata": {"a": -9223372036854775809}}',
    "5000 digits": b'{"metadata": {"a": ' + b"9" * 5000 + b"}}",
    "duplicate key": b'{"metadata": {}, "metadata": {"a": 1}}',
    "duplicate inner key": b'{"metadata": {"a": 1, "a": 2}}',
    "NUL": rb'{"metadata": {"a": ["\u0000"]}}',
    "NUL in a key": rb'{"metadata": {"\u0000": 1}}',
    "lone surrogate": rb'{"metadata": {"a": ["\ud800"]}}',
    "reversed surrogates": rb'{"metadata": {"a": "\udc00\ud800"}}',
    "lone surrogate in a key": rb'{"\ud800": 1}',
}
NOT_AN_OBJECT = {
    "an array": b"[]",
    "a text": b'"x"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
}


def ids(cases):
    return {"argvalues": cases.values(), "ids": cases.keys()}


@pytest.fixture
def addresses(client, alice, engine):
    """Where to send a body, for each route that takes one; they are Alice's own rows."""
    known = ids_of(make_rows(alice, "alice"))
    return [(route.method, route.address.format(**known)) for route in TAKING_BODIES]


@pytest.fixture
def plain(addresses):
    """Those of them that say what is wrong as all do but one."""
    return [addresses[i] for i, route in enumerate(TAKING_BODIES) if not route.is_command]


def refused(client, addresses, body, status, content_type="application/json"):
    before = fingerprint()
    details = []
    for method, path in addresses:
        response = client.generic(method, path, body, content_type=content_type)
        assert response.status_code == status, (method, path, response.content)
        assert len(response.content) < 4096
        details.append(response.json()["detail"])
    assert fingerprint() == before
    return details


@pytest.mark.parametrize("body", **ids(NOT_JSON))
def test_what_is_not_json_is_refused(client, addresses, body):
    for detail in refused(client, addresses, body, 400):
        assert detail.startswith("The body is not ")


@pytest.mark.parametrize("body", **ids(NOT_STORABLE))
def test_json_that_can_not_be_taken_is_refused(client, addresses, body):
    for detail in refused(client, addresses, body, 422):
        assert isinstance(detail, str)


@pytest.mark.parametrize("body", **ids(NOT_AN_OBJECT))
def test_json_that_is_no_object_is_refused(client, plain, body):
    for detail in refused(client, plain, body, 422):
        assert [problem["loc"] for problem in detail] == [["body"]]


@pytest.mark.parametrize(
    ("body", "path"), [(rb'{"a": {"b": ["x", "\ud800"]}}', "a.b.1"), (rb'{"a": [{"b": "\u0000"}]}', "a.0.b")]
)
def test_text_that_can_not_be_stored_is_named_by_its_path(client, addresses, body, path):
    for detail in refused(client, addresses, body, 422):
        assert detail == f"The text at '{path}' holds a NUL or a lone surrogate."


def test_an_unknown_field_is_named(client, plain):
    # A batch is a list.
    objects = [(method, path) for method, path in plain if path != "/runs/batch"]
    for detail in refused(client, objects, b'{"surprise": 1}', 422):
        assert ["body", "surprise"] in [problem["loc"] for problem in detail]


def test_many_and_long_unknown_fields_make_no_long_answer(client, plain):
    keys = ",".join(f'"{"k" * 300}{number}": 1' for number in range(2000))
    refused(client, plain, f"{{{keys}}}".encode(), 422)


@pytest.mark.parametrize(
    ("field", "address"), [("values", "state"), ("interrupt_before", "runs"), ("stream_mode", "runs")]
)
def test_a_list_of_wrong_items_is_not_searched_for_all_of_them(client, alice, field, address):
    """A million complaints would take seconds to make."""
    thread_id = make_rows(alice, "alice").thread.pk
    response = client.post(f"/threads/{thread_id}/{address}", {"assistant_id": "echo", field: [1] * 100})
    assert response.status_code == 422
    wrong = [problem for problem in response.json()["detail"] if field in problem["loc"]]
    assert 1 <= len(wrong) <= 3


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_another_media_type_is_refused(client, addresses, content_type):
    refused(client, addresses, b"{}", 415, content_type)


def test_a_body_without_a_media_type_is_refused(client, addresses):
    refused(client, addresses, b"{}", 415, "")


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_is_taken_under_its_names(client, content_type):
    response = client.generic("POST", "/threads", b'{"metadata": {"a": 1}}', content_type=content_type)
    assert response.json()["metadata"] == {"a": 1}


@pytest.mark.parametrize("body", [b"", b" \n", b"\xef\xbb\xbf{}"], ids=["none", "blank", "byte order mark"])
def test_an_empty_body_is_an_empty_object(client, body):
    assert client.generic("POST", "/threads", body, content_type="application/json").json()["metadata"] == {}


@pytest.mark.parametrize(
    "text",
    [
        "\u202egnirts",
        "👩\u200d👩\u200d👧",
        "e\u0301",
        "é",
        "\uffff",
        "\U0010ffff",
        "\u2028",
        "<script>",
        "\\u0000",
        "\x7f",
    ],
    ids=ascii,
)
def test_other_text_is_kept_as_it_is(client, text):
    made = client.post("/threads", {"metadata": {text: text}}).json()
    assert client.get(f"/threads/{made['thread_id']}").json()["metadata"] == {text: text}


def test_64_levels_and_64_bits_are_taken(client):
    body = (
        b'{"metadata": {"deep": '
        + b"[" * 62
        + b"1"
        + b"]" * 62
        + b', "big": [9223372036854775807, -9223372036854775808]}}'
    )
    made = client.generic("POST", "/threads", body, content_type="application/json")
    assert made.json()["metadata"]["big"] == [2**63 - 1, -(2**63)]


def test_an_object_that_names_a_class_stays_an_object(client):
    value = {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "true"}}
    made = client.post("/threads", {"metadata": {"value": value}}).json()
    assert made["metadata"] == {"value": value}
