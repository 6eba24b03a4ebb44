"""What live answers bring, without a server."""

import re

import orjson
import pytest

from accounts.models import User
from runs.api.streaming import LiveResponse, stream_response, wait_response
from runs.database import in_database
from runs.lifecycle import Outcome, Write, claim, delete_run, write
from runs.models import EventChunk, Run
from runs.protocol.blocks import whole
from runs.records import record
from runs.services.requested import PROTOCOL_MODES
from runs.states import RunStatus
from tests.factories import make_run, tenant_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ended(alice: User, acme: object, graphs: object) -> Run:
    """A run with values and one other event."""
    run = make_run(tenant_of(alice))
    (attempt,) = claim("host", 1)
    records = [record("values", {"a": 1}), record("custom", "x")]
    write([Write(run.pk, attempt.claim, run.thread_id, records, Outcome(RunStatus.SUCCESS, values=b'{"a": 1}'))])
    run.refresh_from_db()
    return run


@pytest.fixture
def spoken(alice: User, acme: object, graphs: object) -> Run:
    """A run that was started by the Agent Streaming Protocol, in which a model has spoken."""
    run = make_run(tenant_of(alice))
    run.kwargs |= {"event_streaming": True, "stream_mode": list(PROTOCOL_MODES)}
    run.save()
    (attempt,) = claim("host", 1)
    said = [{"type": "text", "text": "Hello"}]
    records = [record("lifecycle", {"event": "started"}, ["child:1"]), record("tool", {"event": "tool-started"})]
    records += [record("block", event) for event in whole("m1", said)]
    write([Write(run.pk, attempt.claim, run.thread_id, records, Outcome(RunStatus.SUCCESS))])
    run.refresh_from_db()
    return run


async def body(response: LiveResponse) -> bytes:
    return b"".join([part async for part in response.parts])


async def test_a_stream_of_an_ended_run_is_all_of_it(ended: Run) -> None:
    text = (await body(stream_response(ended, ["values", "custom"]))).decode()

    assert [line for line in text.split("\r\n") if line.startswith("event:")] == [
        "event: metadata",
        "event: values",
        "event: custom",
        "event: end",
    ]


async def test_a_run_of_the_protocol_is_shown_in_the_classic_modes_that_it_records(spoken: Run) -> None:
    text = (await body(stream_response(spoken))).decode()

    assert [line for line in text.split("\r\n") if line.startswith("event:")] == [
        "event: metadata",
        "event: messages/metadata",
        "event: messages/partial",
        "event: messages/partial",
        "event: end",
    ]
    (metadata,) = re.findall("event: metadata\r\ndata: (.*)\r\n", text)
    assert orjson.loads(metadata) == {"run_id": str(spoken.pk), "thread_id": spoken.thread_id, "attempt": 1}


async def test_a_reader_that_comes_back_within_a_message_is_told_whose_it_is(spoken: Run) -> None:
    # The message began at 4.
    text = (await body(stream_response(spoken, ["messages-tuple"], after=5))).decode()

    (piece, _), (last, _) = map(orjson.loads, re.findall("event: messages\r\ndata: (.*)\r\n", text))
    assert (piece["id"], piece["content"], last["chunk_position"]) == ("m1", "Hello", "last")


@pytest.mark.parametrize("after", [None, 0, 2])
async def test_events_that_are_not_kept_any_more_leave_a_gap_and_the_state(ended: Run, after: int | None) -> None:
    await in_database(EventChunk.objects.all().delete)

    assert await body(stream_response(ended, after=after)) == (
        b'event: gap\r\ndata: {"oldest":null}\r\n\r\n'
        b'event: values\r\ndata: {"a":1}\r\n\r\n'
        b"event: end\r\ndata: null\r\n\r\n"
    )


async def test_a_cursor_beyond_the_end_gets_the_end(ended: Run) -> None:
    assert await body(stream_response(ended, after=1000)) == b"event: end\r\ndata: null\r\n\r\n"


async def test_waiting_for_an_ended_run_brings_its_values(ended: Run) -> None:
    assert (await body(wait_response(ended))).strip() == b'{"a":1}'


async def test_waiting_for_a_run_that_was_deleted_says_so(ended: Run) -> None:
    await in_database(delete_run, ended.pk, ended.thread_id)

    assert b'"__error__":{"error":"NotFound"' in await body(wait_response(ended))
