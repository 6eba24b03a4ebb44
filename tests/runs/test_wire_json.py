"""JSON in: what no database and no client could take is refused, with a sentence that can be sent."""

import sys
import time
from contextlib import suppress
from typing import Any

import orjson
import pytest
from rest_framework.exceptions import APIException

from runs.api.wire import MAX_DEPTH, parse_json, to_json


def refusal(body: bytes) -> tuple[int, str]:
    """Status and detail of the answer to this body."""
    with pytest.raises(APIException) as raised:
        parse_json(body)
    detail = orjson.loads(to_json({"detail": raised.value.detail}))["detail"]
    assert len(detail) < 400
    return raised.value.status_code, detail


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"", {}),
        (b" \r\n\t", {}),
        (b"{}", {}),
        (b' {"a": [1, 2.5, true, null, "x"]} \n', {"a": [1, 2.5, True, None, "x"]}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b"[]", []),
        (b'"x"', "x"),
        (b"1", 1),
        (b"null", None),
        (b"-0.0", -0.0),
        (b"1e308", 1e308),
        (b"5e-324", 5e-324),
        (b"1e-400", 0.0),
        (b"%d" % (2**63 - 1), 2**63 - 1),
        (b"%d" % -(2**63), -(2**63)),
        (b'"\\ud83d\\ude00\\u202e"', "😀\u202e"),
        ('{"é": "e\u0301 👨‍👩‍👧 \U0010ffff"}'.encode(), {"é": "e\u0301 👨‍👩‍👧 \U0010ffff"}),
        (b'{"__proto__": 1, "": 2}', {"__proto__": 1, "": 2}),
        (
            b'{"lc":1,"type":"constructor","id":["os","system"]}',
            {"lc": 1, "type": "constructor", "id": ["os", "system"]},
        ),
    ],
)
def test_json_is_taken_as_it_is(body: bytes, value: Any) -> None:
    parsed = parse_json(body)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"}",
        b'{"a":1}}',
        b'{"a":1}{"a":1}',
        b"[1,]",
        b'{"a":1,}',
        b"{a:1}",
        b"{'a':1}",
        b"01",
        b"+1",
        b".5",
        b"0x10",
        b"1_000",
        b"tru",
        b"\xef\xbb\xbf",
        b'"\n"',
        b'"\0"',
        b'"\\x"',
        b'"\\ud8"',
        b'"open',
        b"// comment\n{}",
        '{"a":"b"}'.encode("utf-16"),
        '{"a":"b"}'.encode("utf-16-le"),
        '{"a":"é"}'.encode("latin-1"),
        b'"\xc0\xaf"',
        b'"\xed\xa0\x80"',
        b'"\xf5\x80\x80\x80"',
        b"\xff\xfe",
        b"\0",
    ],
)
def test_what_is_not_json_is_a_bad_request(body: bytes) -> None:
    assert refusal(body)[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[Infinity]",
        b'{"a":-Infinity}',
        b"1e400",
        b"-1e400",
        b"1" + b"0" * 400 + b".0",
        b"%d" % 2**63,
        b"%d" % (-(2**63) - 1),
        b"9" * 5000,
        b'{"a":1,"a":1}',
        b'{"b":{"a":1,"c":2,"a":{}}}',
        b'{"\\u0061":1,"a":1}',
        b'{"\\ud800":1,"\\ud800":2}',
        b'{"%b":1,"%b":2}' % (b"k" * 100_000, b"k" * 100_000),
        b'"\\u0000"',
        b'{"a\\u0000":1}',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\udfff":1}',
        b'[{"a":[1,"\\ud83d"]}]',
    ],
)
def test_json_that_can_not_be_stored_is_refused(body: bytes) -> None:
    assert refusal(body)[0] == 422


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_nesting_has_a_limit(opening: bytes, closing: bytes) -> None:
    levels = opening.count(b"[") + opening.count(b"{")
    deep = MAX_DEPTH // levels
    parse_json(opening * deep + b"1" + closing * deep)
    for depth in (deep + 1, 1000, 100_000):
        assert refusal(opening * depth + b"1" + closing * depth)[0] == 422
    assert refusal(opening * 100_000)[0] in (400, 422)


def test_empty_containers_are_levels_too() -> None:
    parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert refusal(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))[0] == 422


def test_a_wide_body_is_not_a_deep_one() -> None:
    assert parse_json(b"[" + b"[]," * 1000 + b"[]]") == [[]] * 1001


def test_a_refusal_says_where() -> None:
    assert "'a.1.b'" in refusal(b'{"a":[0,{"b":"\\u0000"}]}')[1]
    assert "'key'" in refusal(b'{"key":1,"key":2}')[1]


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"1," * 500_000 + b"1]",
        b"{" + b",".join(b'"%d":0' % number for number in range(200_000)) + b"}",
        b"9" * 1_000_000,
        b"0." + b"9" * 1_000_000,
        b'"' + b"\\u0000" * 200_000 + b'"',
        b"[" * 1_000_000,
    ],
)
def test_a_body_that_is_hard_to_read_does_not_take_long(body: bytes) -> None:
    began = time.process_time()
    with suppress(APIException):
        parse_json(body)
    assert time.process_time() - began < 1


def test_reading_leaves_the_limits_of_the_process_alone() -> None:
    before = sys.getrecursionlimit()
    refusal(b"[" * 100_000)
    assert sys.getrecursionlimit() == before
