"""JSON of what graphs emit: everything becomes something that every database and client can hold."""

import dataclasses
import enum
import math
import uuid
from array import array
from collections import deque, namedtuple
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic import BaseModel

from runs.engine.encode import EventTooLarge, encode, message_fields, to_json
from runs.records import MAX_EVENT_BYTES


class Answer(BaseModel):
    text: str = "yes"


@dataclasses.dataclass
class Point:
    x: int
    _hidden: int = 2
    never: int = dataclasses.field(init=False)


class Colour(enum.Enum):
    RED = "red"


class Pair(namedtuple("Pair", "left right")):
    __slots__ = ()


MOMENT = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
MESSAGE = AIMessage("hi", id="m", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "c"}])

#: Values and what becomes of them.
VALUES: list[tuple[Any, Any]] = [
    (None, None),
    ("text", "text"),
    (1.5, 1.5),
    ((1, 2), [1, 2]),
    (math.nan, None),
    (math.inf, None),
    (2**63 - 1, 2**63 - 1),
    (2**70, str(2**70)),
    (-(2**70), str(-(2**70))),
    ("a\0b", "a\ufffdb"),
    ("a\ud800b", "a\ufffdb"),
    ("\ud83d\ude00", "😀"),
    ("\\u0000", "\\u0000"),
    (b"caf\xc3\xa9 \xff", "café \ufffd"),
    (bytearray(b"a"), "a"),
    ({1}, [1]),
    (frozenset(["a"]), ["a"]),
    (deque([1, 2]), [1, 2]),
    (range(3), [0, 1, 2]),
    (MappingProxyType({"a": 1}), {"a": 1}),
    ({1: "a", None: "b", False: "c"}, {"1": "a", "null": "b", "false": "c"}),
    ({(1, 2): "a"}, {"(1, 2)": "a"}),
    ({2**70: "a"}, {str(2**70): "a"}),
    ({"a\0": 1}, {"a\ufffd": 1}),
    ({Colour.RED: 1}, {"red": 1}),
    (Answer(), {"text": "yes"}),
    (Point(1), {"x": 1}),
    (Pair(1, "b"), {"left": 1, "right": "b"}),
    (Colour.RED, "red"),
    (MOMENT, "2026-11-20T10:30:00+00:00"),
    (date(2026, 11, 20), "2026-11-20"),
    (MOMENT.time(), "10:30:00"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (array("i", [1, 2]), [1, 2]),
    (MESSAGE, MESSAGE.model_dump()),
    (ValueError("no"), {"error": "ValueError", "message": "no"}),
    (lambda: None, "<function>"),
    (timedelta(1), "<timedelta>"),
    (Answer, "<ModelMetaclass>"),
    (Point, "<type>"),
    (Pair, "<type>"),
    (object(), "<object>"),
]


def decoded(value: Any) -> Any:
    return orjson.loads(to_json(value))


@pytest.mark.parametrize(("value", "made"), VALUES)
@pytest.mark.parametrize("beside", [None, 2**70, "\0"], ids=["alone", "beside a long integer", "beside a NUL"])
def test_what_becomes_of_a_value_does_not_depend_on_its_neighbours(value: Any, made: Any, beside: Any) -> None:
    assert decoded({"value": value, "beside": beside})["value"] == made
    assert decoded([[value], beside])[0] == [made]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec=None)) | st.integers(), inner),
        max_leaves=20,
    )
)
def test_the_outcome_is_json_that_can_be_stored(value: Any) -> None:
    data = to_json(value)
    assert b"\n" not in data and b"\r" not in data and b"\0" not in data
    assert orjson.dumps(orjson.loads(data)) == data
    assert "\0" not in str(orjson.loads(data))


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def ring() -> Any:
    """A list that holds itself, twice."""
    value: list[Any] = []
    value += [value, value]
    return value


def family() -> Any:
    """Parents that know their children, and children that know their parents."""
    parent: dict[str, Any] = {"name": "parent"}
    parent["children"] = [{"name": str(number), "parent": parent} for number in range(5)]
    return parent


@pytest.mark.parametrize(
    ("value", "end"),
    [(deep(1000), b"<too deep>"), (deep(100_000), b"<too deep>"), (ring(), b"<cycle>"), (family(), b"<cycle>")],
    ids=["deep", "deeper", "ring", "family"],
)
def test_what_has_no_end_is_given_one(value: Any, end: bytes) -> None:
    assert end in to_json({"value": value})


def test_what_stands_in_two_places_is_shown_in_both() -> None:
    shared = {"a": 2**70}
    assert decoded([shared, shared]) == [{"a": str(2**70)}] * 2


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        AIMessage(
            [{"type": "text", "text": "hi"}], usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
        ),
        AIMessageChunk("h", id="m", tool_call_chunks=[{"name": "f", "args": "{", "id": "c", "index": 0}]),
        HumanMessage("hi", name="alice", custom=1),
        SystemMessage("be nice", additional_kwargs={"a": 1}),
        ToolMessage("done", tool_call_id="c", artifact={"a": 1}, status="error"),
        RemoveMessage(id="m"),
    ],
)
def test_the_fields_of_a_message_are_those_that_pydantic_gives(message: Any) -> None:
    assert message_fields(message) == message.model_dump()


def test_an_event_has_a_limit() -> None:
    encode("a" * (MAX_EVENT_BYTES - 2))
    with pytest.raises(EventTooLarge, match=str(MAX_EVENT_BYTES + 1)):
        encode("a" * (MAX_EVENT_BYTES - 1))
