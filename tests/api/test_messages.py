"""Messages, events and token usage, as pages and sums."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from runs.api import schema
from runs.lifecycle.messages import known_messages
from runs.models import EventChunk, Message, Run
from runs.records import pack, record
from runs.services import messages
from runs.services.messages import Cursor
from runs.states import RunStatus
from tests.factories import make_run, make_thread, tenant_of


@pytest.fixture
def tenant(alice, acme):
    return tenant_of(alice)


@pytest.fixture
def thread(tenant):
    return make_thread(tenant)


@pytest.fixture
def run(tenant, thread):
    return make_run(tenant, thread, status=RunStatus.SUCCESS)


def say(run: Run, count: int = 1, **over: Any) -> None:
    """So many more messages of a run, which come last on its thread."""
    first = (
        Message.objects.filter(thread_id=run.thread_id).order_by("-seq").values_list("seq", flat=True).first() or 0
    ) + 1
    fields = {"kind": "ai", "caller": "lead_agent", "content": {"content": "x", "additional_kwargs": {}}}
    Message.objects.bulk_create(
        Message(thread_id=run.thread_id, run=run, seq=seq, message_id=f"m{seq}", **{**fields, **over})
        for seq in range(first, first + count)
    )


def seqs(answer: Any) -> list[int]:
    rows = answer if isinstance(answer, list) else answer["data"]
    return [row["seq"] for row in rows]


@pytest.fixture(params=["/threads/{t}/runs/{r}/messages", "/runs/{r}/messages", "/threads/{t}/messages/page"])
def path(request, run):
    """Each address that answers pages."""
    return request.param.format(t=run.thread_id, r=run.pk)


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_an_empty_page_is_a_page(client, run, prefix):
    place = f"{prefix}/threads/{run.thread_id}"
    empty = {"data": [], "has_more": False}
    assert client.get(f"{place}/runs/{run.pk}/messages").json() == empty | {"hasMore": False}
    assert client.get(f"{prefix}/runs/{run.pk}/messages").json() == empty | {"hasMore": False}
    assert client.get(f"{place}/messages/page").json() == empty | {"next_before_seq": None}
    assert client.get(f"{place}/messages").json() == []


def test_a_row_has_its_keys(client, run, alice):
    say(run, kind="human", content={"type": "human", "content": "hello", "id": "m1"})
    say(run, metadata={"usage": {"total_tokens": 5}})
    human, ai = client.get(f"/threads/{run.thread_id}/messages").json()
    for row in (human, ai):
        schema.Event.model_validate(row)
        assert (
            row
            | {
                "thread_id": run.thread_id,
                "run_id": str(run.pk),
                "user_id": str(alice.pk),
                "category": "message",
                "feedback": None,
            }
            == row
        )
    assert (human["event_type"], human["content"]["content"]) == ("llm.human.input", "hello")
    assert (ai["event_type"], ai["metadata"]) == (
        "llm.ai.response",
        {"caller": "lead_agent", "usage": {"total_tokens": 5}},
    )


def test_the_default_page_has_the_newest(client, run, path):
    say(run, 51)
    answer = client.get(path).json()
    assert (seqs(answer), answer["has_more"]) == (list(range(2, 52)), True)


def test_a_page_that_holds_all_has_no_more(client, run, path):
    say(run, 50)
    answer = client.get(path).json()
    assert (len(answer["data"]), answer["has_more"], answer.get("next_before_seq")) == (50, False, None)


def test_a_backward_page_has_the_newest_before_the_cursor(client, run, path):
    say(run, 10)
    answer = client.get(f"{path}?before_seq=8&limit=3").json()
    assert (seqs(answer), answer["has_more"]) == ([5, 6, 7], True)


def test_a_forward_page_has_the_oldest_after_the_cursor(client, run):
    say(run, 10)
    for path in (f"/runs/{run.pk}/messages", f"/threads/{run.thread_id}/messages"):
        assert seqs(client.get(f"{path}?after_seq=3&limit=3").json()) == [4, 5, 6]
        assert seqs(client.get(f"{path}?after_seq=3&before_seq=6&limit=3").json()) == [4, 5]
    assert client.get(f"/runs/{run.pk}/messages?after_seq=7&limit=3").json()["hasMore"] is False


def test_pages_walked_backwards_hold_every_row_once(client, tenant, thread, run):
    for _ in range(3):
        say(run, 7)
        run = make_run(tenant, thread, status=RunStatus.SUCCESS)
    found, before = [], ""
    while True:
        answer = client.get(f"/threads/{thread.pk}/messages/page?limit=4{before}").json()
        schema.MessagePage.model_validate(answer)
        found = seqs(answer) + found
        if not answer["has_more"]:
            break
        before = f"&before_seq={answer['next_before_seq']}"
    assert found == list(range(1, 22)) and answer["next_before_seq"] is None


def test_a_conversation_is_read_backwards_only(client, run):
    answer = client.get(f"/threads/{run.thread_id}/messages/page?after_seq=1")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", "after_seq"])


@pytest.mark.parametrize("wrong", ["limit=0", "limit=201", "before_seq=0", "before_seq=-1", "before_seq=x", "limit="])
def test_a_wrong_page_is_named(client, path, wrong):
    answer = client.get(f"{path}?{wrong}")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", wrong.split("=")[0]])


def test_a_cursor_forward_begins_at_one(client, run):
    assert client.get(f"/runs/{run.pk}/messages?after_seq=0").status_code == 422


def test_hidden_rows_do_not_fill_a_page(client, run):
    say(run, 3)
    say(run, 200, caller="middleware:title")
    say(run, 200, caller="subagent:search")
    answer = client.get(f"/threads/{run.thread_id}/messages/page?limit=2").json()
    assert (seqs(answer), answer["has_more"]) == ([2, 3], True)
    assert seqs(client.get(f"/threads/{run.thread_id}/messages?limit=2").json()) == [402, 403]
    assert len(client.get(f"/runs/{run.pk}/messages?limit=200").json()["data"]) == 200


def test_how_long_a_run_took_stands_on_its_last_answer_only(client, tenant, thread, run):
    Run.objects.filter(pk=run.pk).update(ended_at=Run.objects.get(pk=run.pk).created_at + timedelta(seconds=3.5))
    active = make_run(tenant, thread, status=RunStatus.RUNNING)
    say(run, kind="human")
    say(run, 2)
    say(run, kind="tool")
    say(run, caller="middleware:title")
    say(active)
    rows = client.get(f"/threads/{thread.pk}/messages").json()
    durations = [row["content"]["additional_kwargs"].get("turn_duration") for row in rows]
    assert durations == [None, None, 3, None, None, None]
    first = client.get(f"/threads/{thread.pk}/messages?before_seq=3").json()
    assert "turn_duration" not in first[-1]["content"]["additional_kwargs"]


# Events.


@pytest.fixture
def eventful(run):
    """A run that failed at its third event of six."""
    first = pack([record("metadata", {"run_id": str(run.pk), "attempt": 1}), record("message"), record("values")])
    last = pack(
        [record("message"), record("error", {"error": "E", "message": "no"}), record("end", {"status": "error"})]
    )
    for start, payload in ((1, first), (4, last)):
        EventChunk.objects.create(
            thread_id=run.thread_id, run=run, first_seq=start, last_seq=start + 2, payload=payload
        )
    Message.objects.create(
        thread_id=run.thread_id, run=run, seq=2, kind="human", caller="lead_agent", message_id="a", content={}
    )
    Message.objects.create(
        thread_id=run.thread_id,
        run=run,
        seq=4,
        kind="ai",
        caller="subagent:x",
        message_id="b",
        content={},
        metadata={"task_id": "t1"},
    )
    return f"/threads/{run.thread_id}/runs/{run.pk}/events"


def events(client, path):
    answer = client.get(path).json()
    schema.Events.model_validate(answer)
    return [(row["seq"], row["event_type"]) for row in answer]


def test_events_are_a_runs_start_messages_and_end(client, eventful):
    assert events(client, eventful) == [
        (1, "run.start"),
        (2, "llm.human.input"),
        (4, "llm.ai.response"),
        (5, "run.error"),
        (6, "run.end"),
    ]
    assert client.get(f"{eventful}?event_types=run.end").json()[0]["content"] == {"status": "error"}


def test_events_are_filtered_and_paged(client, eventful):
    assert events(client, f"{eventful}?event_types=run.end,llm.human.input") == [(2, "llm.human.input"), (6, "run.end")]
    assert events(client, f"{eventful}?event_types=unknown") == []
    assert events(client, f"{eventful}?after_seq=2&limit=2") == [(4, "llm.ai.response"), (5, "run.error")]
    assert events(client, f"{eventful}?task_id=t1") == [(4, "llm.ai.response")]
    assert events(client, f"{eventful}?task_id=t2") == []


@pytest.mark.parametrize(
    "wrong", ["limit=0", "limit=2001", "after_seq=0", "task_id=", "task_id=%00", "task_id=" + "x" * 65]
)
def test_a_wrong_question_for_events_is_named(client, eventful, wrong):
    answer = client.get(f"{eventful}?{wrong}")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", wrong.split("=")[0]])


def test_a_start_is_told_once_however_many_attempts_there_were(client, run):
    for seq in (1, 2):
        payload = pack([record("metadata", {"attempt": seq})])
        EventChunk.objects.create(thread_id=run.thread_id, run=run, first_seq=seq, last_seq=seq, payload=payload)
    assert events(client, f"/threads/{run.thread_id}/runs/{run.pk}/events") == [(1, "run.start")]


def test_messages_outlive_the_log(client, eventful):
    EventChunk.objects.all().delete()
    assert events(client, eventful) == [(2, "llm.human.input"), (4, "llm.ai.response")]


# Tokens.


def usage(client, thread, query=""):
    answer = client.get(f"/threads/{thread.pk}/token-usage{query}").json()
    schema.TokenUsage.model_validate(answer)
    return answer


def test_a_thread_without_runs_has_used_nothing(client, thread):
    assert usage(client, thread) == {
        "thread_id": thread.pk,
        "total_tokens": 0,
        "total_input_tokens": 0,
        "total_output_tokens": 0,
        "total_runs": 0,
        "by_model": {},
        "by_caller": {"lead_agent": 0, "subagent": 0, "middleware": 0},
        "context_usage": None,
    }


def test_what_runs_have_used_is_added_up(client, tenant, thread):
    counters = {
        "total_tokens": 9,
        "total_input_tokens": 5,
        "total_output_tokens": 4,
        "lead_agent_tokens": 6,
        "subagent_tokens": 2,
        "middleware_tokens": 1,
        "tokens_by_model": {"a": {"total_tokens": 6}, "b": {"total_tokens": 3}},
    }
    for status in RunStatus:
        make_run(tenant, thread, status=status, **counters)
    make_run(tenant, thread, status=RunStatus.SUCCESS)
    settled = usage(client, thread)
    assert (settled["total_tokens"], settled["total_runs"]) == (27, 4)
    assert settled["by_caller"] == {"lead_agent": 18, "subagent": 6, "middleware": 3}
    assert settled["by_model"] == {"a": {"tokens": 18, "runs": 3}, "b": {"tokens": 9, "runs": 3}}
    active = usage(client, thread, "?include_active=true")
    assert (active["total_input_tokens"], active["total_output_tokens"], active["total_runs"]) == (20, 16, 5)


def test_a_run_shows_its_counters(client, tenant, thread):
    run = make_run(tenant, thread, status=RunStatus.SUCCESS, message_count=2, started_at=timezone.now())
    shown = client.get(f"/threads/{thread.pk}/runs/{run.pk}").json()
    schema.Run.model_validate(shown)
    assert (shown["message_count"], shown["model_name"], shown["ended_at"]) == (2, None, None)
    assert shown["started_at"]


# Plans.


def plan(found: QuerySet[Any]) -> str:
    return found.explain()


@pytest.fixture
def many(tenant, thread, run):
    """Enough rows that a plan without an index would be a worse one, also of other threads."""
    say(run, 300)
    for _ in range(20):
        other = make_run(tenant, make_thread(tenant), status=RunStatus.SUCCESS)
        say(other, 100)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE runs_message")
    return run


def test_pages_are_read_by_an_index_and_not_sorted(monkeypatch, tenant, many):
    plans = []
    fetch = QuerySet._fetch_all

    def explained(self):
        if self.model is Message and self._result_cache is None and self._iterable_class.__name__ == "ModelIterable":
            plans.append(self.explain())
        fetch(self)

    monkeypatch.setattr(QuerySet, "_fetch_all", explained)
    cursors = [Cursor(50), Cursor(50, before=200), Cursor(50, after=100)]
    for cursor in cursors:
        for with_helpers in (True, False):
            messages.thread_messages(tenant, many.thread_id, cursor, with_helpers=with_helpers)
        messages.run_messages(tenant, None, str(many.pk), cursor)
    assert len(plans) == 3 * len(cursors)
    for found in plans:
        assert "Seq Scan" not in found and "SCAN runs_message" not in found, found
        assert "Sort" not in found and "TEMP B-TREE" not in found, found


def test_what_is_known_of_a_thread_is_found_by_an_index(tenant, many):
    run = make_run(tenant, make_thread(tenant), status=RunStatus.SUCCESS)
    say(run, 5)
    found = Message.objects.filter(thread_id=run.thread_id).values_list("message_id").explain()
    assert "SCAN runs_message" not in found and "Seq Scan" not in found
    assert len(known_messages(run.thread_id)) == 5
