"""The commands `agent.getTree` and those of a state, and every way in which they fail."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from runs.identifiers import new_id
from runs.models import EventChunk, Run, Thread
from runs.records import pack, record
from runs.states import RunStatus
from tests.api.commanding import CHECKPOINT, refused, result, send
from tests.api.engine import STATE
from tests.factories import make_run, tenant_of

# agent.getTree


def log(run: Run, *records: Any) -> None:
    first = run.thread.last_seq + 1
    run.thread.last_seq += len(records)
    run.thread.save()
    EventChunk.objects.create(
        thread=run.thread, run=run, first_seq=first, last_seq=run.thread.last_seq, payload=pack(records)
    )


def tree(client: APIClient, thread: Thread, **params: Any) -> Any:
    return result(client, thread, "agent.getTree", **params)["tree"]


def test_a_tree_has_the_graphs_that_a_run_has_started(client, alice, thread):
    run = make_run(tenant_of(alice), thread, status=RunStatus.RUNNING)
    log(run, record("metadata", {"run_id": str(run.pk)}), record("values", {"end": "lifecycle"}))
    started = {"event": "started", "graph_name": "child"}
    log(
        run,
        record("lifecycle", started | {"namespace": ["a:1"]}, ["a:1"]),
        record("lifecycle", {"event": "started"}, ["a:1", "b:2"]),
        record("lifecycle", {"event": "completed"}, ["a:1", "b:2"]),
        record("values", {}, ["c:3"]),
    )
    assert tree(client, thread) == {
        "namespace": [],
        "status": "running",
        "graph_name": "echo",
        "metadata": {"run_id": str(run.pk)},
        "children": [
            {
                "namespace": ["a:1"],
                "status": "started",
                "graph_name": "child",
                "children": [
                    {"namespace": ["a:1", "b:2"], "status": "completed", "graph_name": "b", "children": []},
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("status", "end", "shown"),
    [
        (RunStatus.SUCCESS, {}, "completed"),
        (RunStatus.SUCCESS, {"waits": True}, "interrupted"),
        (RunStatus.ERROR, {"error": "x"}, "failed"),
        (RunStatus.TIMEOUT, {}, "failed"),
        (RunStatus.INTERRUPTED, {"cancelled": True}, "failed"),
        (RunStatus.INTERRUPTED, {"cancelled": True, "superseded": True}, "interrupted"),
        (RunStatus.ERROR, {"cancelled": True, "superseded": True}, "interrupted"),
    ],
)
def test_a_run_that_has_ended_is_shown_as_its_end(client, alice, thread, status, end, shown):
    run = make_run(tenant_of(alice), thread, status=status)
    child = record("lifecycle", {"event": "started"}, ["a:1"])
    done = record("lifecycle", {"event": "completed"}, ["b:1"])
    log(run, child, done, record("end", {"status": status} | end))
    found = tree(client, thread)
    assert [found["status"], *(node["status"] for node in found["children"])] == [shown, shown, "completed"]


@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.SUCCESS])
def test_a_run_without_events_is_shown_as_its_row(client, alice, thread, status):
    make_run(tenant_of(alice), thread, status=status)
    shown = {RunStatus.PENDING: "started", RunStatus.SUCCESS: "completed"}
    assert (tree(client, thread)["status"], tree(client, thread)["children"]) == (shown[status], [])


def test_a_tree_is_of_the_run_that_is_named_or_active_or_was_last(client, alice, thread):
    ended = [make_run(tenant_of(alice), thread, status=RunStatus.SUCCESS) for _ in range(2)]

    def shown(**params: Any) -> str:
        return tree(client, thread, **params)["metadata"]["run_id"]

    assert shown() == str(ended[1].pk)
    pending = [make_run(tenant_of(alice), thread) for _ in range(2)]
    assert shown() == str(pending[0].pk)
    Run.objects.filter(pk=pending[1].pk).update(status=RunStatus.RUNNING)
    assert shown() == str(pending[1].pk)
    assert shown(run_id=str(ended[0].pk)) == shown(runId=str(ended[0].pk)) == str(ended[0].pk)


def test_there_is_no_tree_of_a_run_that_there_is_not(client, alice, charlie, thread):
    foreign = make_run(tenant_of(charlie))
    elsewhere = make_run(tenant_of(alice))
    none = ("no_such_run", "Run not found.")
    assert refused(client, thread, "agent.getTree") == none
    for run_id in (str(foreign.pk), str(elsewhere.pk), str(new_id()), "x", ""):
        assert refused(client, thread, "agent.getTree", run_id=run_id) == none
    for thread_id in (foreign.thread_id, str(new_id()), "a.b"):
        assert refused(client, thread_id, "agent.getTree") == none
        assert refused(client, thread_id, "agent.getTree", run_id=str(foreign.pk)) == none


def test_a_long_tree_is_read_to_its_end(client, alice, thread):
    run = make_run(tenant_of(alice), thread, status=RunStatus.RUNNING)
    for number in range(250):
        log(run, record("lifecycle", {"event": "started"}, [f"a:{number}"]))
    assert len(tree(client, thread)["children"]) == 250


# state.get, state.listCheckpoints, state.fork


def test_a_state_is_got(client, waiting, engine):
    engine.answers["state"] = STATE | {"values": {"a": 1, "b": 2}}
    checkpoint = {"id": CHECKPOINT}
    assert result(client, waiting, "state.get", namespace=[]) == {"values": {"a": 1, "b": 2}, "checkpoint": checkpoint}
    assert result(client, waiting, "state.get", namespace=[], keys=["b", "c"])["values"] == {"b": 2}


def test_a_state_of_a_subgraph_is_got(client, waiting, engine):
    found = result(client, waiting, "state.get", namespace=["a:1", "b:2"])
    assert found["checkpoint"] == {"id": CHECKPOINT, "ns": "a:1|b:2"}
    assert [params["checkpoint"]["checkpoint_ns"] for _, params in engine.questions] == ["a:1|b:2"] * 2


def test_a_thread_that_has_not_run_has_an_empty_state(client, thread):
    assert result(client, thread, "state.get", namespace=[]) == {"values": {}}
    assert result(client, thread, "state.listCheckpoints") == {"checkpoints": []}


@pytest.mark.parametrize("method", ["state.get", "state.listCheckpoints"])
def test_there_is_no_state_of_a_namespace_that_there_is_not(client, thread, waiting, engine, method):
    assert refused(client, thread, method, namespace=["a"])[0] == "no_such_namespace"
    engine.answers["has_checkpoint"] = False
    assert refused(client, waiting, method, namespace=["a"])[0] == "no_such_namespace"


def state(number: int, *tasks: str) -> Any:
    return STATE | {
        "checkpoint_id": f"c{number}",
        "parent_checkpoint_id": f"c{number - 1}",
        "metadata": {"source": "loop", "step": number},
        "tasks": [{"name": name} for name in tasks],
    }


def test_checkpoints_are_listed_with_what_led_to_them(client, waiting, engine):
    engine.answers["history"] = [state(3), state(2, "one", "two"), state(1, "one"), state(0, "zero")]
    engine.answers["history"] += [state(-1, "zero"), state(-2, "input")]
    engine.answers["history"][3]["metadata"]["source"] = "update"
    found = result(client, waiting, "state.listCheckpoints", limit=5, before="c4", namespace=[])["checkpoints"]
    assert found[0] == {
        "id": "c3",
        "timestamp": STATE["created_at"],
        "step": 3,
        "metadata": {"source": "loop", "step": 3},
    }
    assert [each.get("node_name") for each in found] == [None, "one", "zero", None, "input"]
    method, params = engine.questions[-1]
    assert (method, params["limit"], params["before"]) == ("history", 6, {"checkpoint_id": "c4"})


def test_checkpoints_are_not_listed_before_one_that_there_is_not(client, waiting, engine):
    engine.answers["has_checkpoint"] = False
    assert refused(client, waiting, "state.listCheckpoints", before="x")[0] == "no_such_checkpoint"


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 1001}, {"before": ""}, {"namespace": "a"}, {"keys": []}])
def test_a_list_of_checkpoints_is_asked_for_rightly(client, waiting, engine, params):
    assert refused(client, waiting, "state.listCheckpoints", **params)[0] == "invalid_argument"


def test_a_run_forks_from_a_checkpoint(client, waiting, engine):
    answer = send(
        client, waiting, "state.fork", checkpointId=CHECKPOINT, input={"a": 1}, config={"configurable": {"b": 2}}
    )
    run = Run.objects.order_by("-position")[0]
    assert answer["result"] == {"run_id": str(run.pk), "thread_id": waiting.pk}
    assert answer["meta"] == {"applied_through_seq": 5}
    assert (run.kwargs["input"], run.kwargs["command"]) == ({"a": 1}, None)
    assert run.kwargs["config"]["configurable"].items() >= {"b": 2, "checkpoint_id": CHECKPOINT}.items()


def test_no_run_forks_from_a_checkpoint_that_there_is_not(client, waiting, engine):
    engine.answers["has_checkpoint"] = False
    assert refused(client, waiting, "state.fork", checkpoint_id="x")[0] == "no_such_checkpoint"
    assert refused(client, waiting, "state.fork")[0] == "invalid_argument"


def test_no_run_forks_on_a_thread_that_never_ran(client, thread):
    assert refused(client, thread, "state.fork", checkpoint_id="x") == ("invalid_argument", "Assistant not found.")
