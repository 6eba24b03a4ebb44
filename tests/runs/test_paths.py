"""Paths into JSON: small, strict, and never a failure."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.protocol import paths

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.[]0", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("values", ("values",)),
        ("values.a.b", ("values", "a", "b")),
        ("values[0][-1].a", ("values", 0, -1, "a")),
        ("metadata.a b.0", ("metadata", "a b", "0")),
        ("error.line\nbreak", ("error", "line\nbreak")),
    ],
)
def test_a_path_is_its_steps(text: str, steps: paths.Path) -> None:
    assert paths.parse(text) == steps


@given(text=st.text("values.[]-01a\n", max_size=12), value=JSON)
def test_a_path_is_read_or_refused(text: str, value: Any) -> None:
    try:
        path = paths.parse(text)
    except ValueError:
        return
    paths.read({path[0]: value}, path)


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, {"a": None}])
def test_what_is_not_there_is_none(value: Any) -> None:
    for path in ((0,), (-1, 0), ("a",), ("a", "b"), (0, "a")):
        assert paths.read(value, path) is None
