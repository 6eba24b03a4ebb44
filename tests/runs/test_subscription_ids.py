"""Ids of subscriptions hold what they want; ids of events say where a reader goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.protocol.requests.events import Subscription
from runs.protocol.subscriptions import MAX_LENGTH, cursor_of, new_id, wanted_by

CHANNELS = st.lists(st.sampled_from(["values", "messages", "custom:a.b", "custom:é"]), min_size=1, max_size=5)
PLACES = st.none() | st.lists(st.lists(st.text(max_size=20), max_size=3), max_size=3)


@given(CHANNELS, PLACES, st.none() | st.integers(0, 1000))
def test_an_id_restores_its_subscription_anywhere(channels, namespaces, depth):
    wanted = Subscription(channels=channels, namespaces=namespaces, depth=depth, since=7)
    restored = wanted_by(new_id(wanted))
    assert restored.selection == wanted.selection
    assert restored.since is None


def test_no_two_ids_are_the_same():
    wanted = Subscription(channels=["values"])
    assert new_id(wanted) != new_id(wanted)


def test_what_wants_too_much_for_an_id_is_refused():
    with pytest.raises(ValueError, match="several"):
        new_id(Subscription(channels=["values"], namespaces=[["x" * 255] * 50]))


@given(st.text(max_size=50) | st.binary(max_size=50).map(lambda data: data.decode("latin-1")))
def test_what_is_no_id_is_refused(text):
    with pytest.raises(ValueError):
        wanted_by(text)


@pytest.mark.parametrize("text", ["A" * (MAX_LENGTH + 1), "bnVsbA", "eyJjaGFubmVscyI6WyJ4Il19", "W10.x", "[[[["])
def test_what_no_socket_made_is_refused(text):
    with pytest.raises(ValueError):
        wanted_by(text)


@pytest.mark.parametrize(
    ("event_id", "after"),
    [("12", 12), ("0", 0), ("12.1", 11), ("12.2", 11), ("1.1", 0), ("state.12-34", 12), ("gap.3", 3), ("0.1", 0)],
)
def test_a_reader_goes_on_where_nothing_is_lost(event_id, after):
    assert cursor_of(event_id) == after


@pytest.mark.parametrize(
    "event_id", ["", "x", "-1", "12.", ".1", "12.x", "state.", "state.1-", "state.1-x", "1" * 20, "1\n", "\uff11"]
)
def test_what_is_no_event_is_refused(event_id):
    with pytest.raises(ValueError):
        cursor_of(event_id)
