"""Searches of threads: what is found, in which order, what is shown of it, and that no more is read than that."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.identifiers import new_id
from runs.models import Thread
from tests.api.problems import locs, named
from tests.factories import api_client, make_run, make_thread, tenant_of

NOW = timezone.now()


def ids(client, **query):
    response = client.post("/threads/search", {"limit": 1000, **query})
    assert response.status_code == 200, response.content
    return [thread["thread_id"] for thread in response.json()]


def thread(user, name, **over):
    return make_thread(tenant_of(user), thread_id=name, **over)


def test_pinned_threads_come_first_then_those_that_changed_last(client, alice):
    for number, pinned in enumerate([False, True, False, True]):
        thread(alice, f"t{number}", pinned=pinned, updated_at=NOW + timedelta(seconds=number))
    thread(alice, "a", updated_at=NOW)
    thread(alice, "b", updated_at=NOW)
    assert ids(client) == ids(client, sort_by="updated_at") == ["t3", "t1", "t2", "t0", "b", "a"]
    assert ids(client, sort_order="asc") == ["a", "b", "t0", "t2", "t1", "t3"]


@pytest.mark.parametrize("column", ["thread_id", "status", "created_at", "updated_at", "state_updated_at"])
@pytest.mark.parametrize("sort_order", ["asc", "desc"])
def test_own_and_shared_threads_are_merged_in_each_order(client, alice, bob, column, sort_order):
    for number in range(12):
        owner = (alice, bob)[number % 2]
        made = thread(
            owner,
            f"t{number:02}",
            shared=number % 3 == 0 or owner is bob,
            status=("idle", "error", "busy")[number % 3],
            updated_at=NOW + timedelta(seconds=number * 7 % 12),
            state_updated_at=NOW + timedelta(seconds=number * 5 % 12),
        )
        Thread.objects.filter(pk=made.pk).update(created_at=NOW + timedelta(seconds=number * 11 % 12))
    thread(bob, "private")
    rows = client.post("/threads/search", {"limit": 12, "sort_by": column, "sort_order": sort_order}).json()
    keys = [(row[column], row["thread_id"]) for row in rows]
    assert keys == sorted(keys, reverse=sort_order == "desc") and len(keys) == 12
    pages = []
    for offset in range(0, 15, 5):
        pages += ids(client, sort_by=column, sort_order=sort_order, limit=5, offset=offset)
    assert pages == [row["thread_id"] for row in rows]


def test_only_visible_threads_are_found_and_counted(client, alice, bob, charlie):
    thread(alice, "own")
    thread(alice, "own-shared", shared=True)
    thread(bob, "shared", shared=True)
    thread(bob, "private")
    thread(charlie, "foreign", shared=True)
    thread(alice, "temporary", temporary=True)
    thread(alice, "orphan", shared=True, owner_id=None)
    everything = {"own", "own-shared", "shared", "private", "foreign", "temporary", "orphan"}
    for query in ({}, {"ids": list(everything)}):
        assert sorted(ids(client, **query)) == ["orphan", "own", "own-shared", "shared"]
        assert client.post("/threads/count", query).json() == 4
    assert ids(api_client(charlie)) == ["foreign"]


def test_a_count_is_a_bare_integer_for_the_same_filters(client, alice):
    thread(alice, "a", metadata={"k": 1}, values={"v": True}, status="error")
    thread(alice, "b", metadata={"k": 1}, values={"v": 1})
    for query, found in (
        ({}, b"2"),
        ({"metadata": {"k": 1}}, b"2"),
        ({"values": {"v": True}}, b"1"),
        ({"status": "error"}, b"1"),
        ({"ids": ["a", "x"]}, b"1"),
        ({"metadata": {"k": 2}}, b"0"),
    ):
        response = client.post("/threads/count", query)
        assert (response.status_code, response.content) == (200, found)
    assert named(client.post("/threads/count", {"limit": 1}), "body", "limit")


def test_values_are_matched_as_metadata_is(client, alice):
    thread(alice, "number", values={"v": 1, "w": "x"})
    thread(alice, "bool", values={"v": True})
    thread(alice, "null", values={"v": None})
    thread(alice, "list", values=[1])
    thread(alice, "text", values="v")
    thread(alice, "none", values=None)
    assert ids(client, values={"v": 1}) == ids(client, values={"v": 1, "w": "x"}) == ["number"]
    assert ids(client, values={"v": True}) == ["bool"]
    assert ids(client, values={"v": None}) == ["null"]
    assert ids(client, values={"0": 1}) == ids(client, values={"v": 2}) == []
    assert len(ids(client, values={})) == 6


def test_paths_are_extracted(client, alice):
    values = {"messages": [{"content": "first"}, {"content": "last"}], "n": 0}
    thread(alice, "t", values=values, metadata={"a b": {"ключ": [[1, 2]]}}, interrupts={"task": [{"value": 1}]})
    wanted = {
        "last": "values.messages[-1].content",
        "first": "values.messages[0].content",
        "zero": "values.n",
        "all": "values",
        "odd": "metadata.a b.ключ[0][1]",
        "interrupt": "interrupts.task[0].value",
        "beyond": "values.messages[2].content",
        "into": "values.n.more",
        "error": "error.message",
    }
    (found,) = client.post("/threads/search", {"select": ["thread_id"], "extract": wanted}).json()
    assert found == {
        "thread_id": "t",
        "extracted": {
            "last": "last",
            "first": "first",
            "zero": 0,
            "all": values,
            "odd": 2,
            "interrupt": 1,
            "beyond": None,
            "into": None,
            "error": None,
        },
    }
    (whole,) = client.post("/threads/search", {"extract": {"n": "values.n"}}).json()
    assert whole["extracted"] == {"n": 0} and whole["values"] == values


@pytest.mark.parametrize(
    "path",
    [
        "",
        "title",
        "values.",
        "values..a",
        "values[",
        "values[a]",
        "values[*]",
        "values[]",
        "values[1",
        "values]",
        "values[٣]",
        "values[99999999999]",
        ".values",
        "$.values",
        "valuesx",
        "values.a[0]b",
        "owner_id",
        "thread_id",
        "values." + "x" * 300,
        5,
        None,
    ],
)
def test_a_path_that_is_none_is_refused(client, path):
    response = client.post("/threads/search", {"extract": {"it": path}})
    assert response.status_code == 422
    assert named(response, "body", "extract"), locs(response)


def test_no_more_than_ten_paths_are_extracted(client):
    assert client.post("/threads/search", {"extract": {str(n): "values" for n in range(10)}}).status_code == 200
    assert client.post("/threads/search", {"extract": {str(n): "values" for n in range(11)}}).status_code == 422


def queries_of(client, **query):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        ids(client, **query)
    return [sql for sql in (query["sql"] for query in captured) if 'FROM "runs_thread"' in sql]


def test_what_is_not_shown_is_not_read(client, alice):
    thread(alice, "t", values={"big": "x"})
    for sql in queries_of(client, select=["thread_id", "status"]):
        assert '"values"' not in sql and '"metadata"' not in sql and '"kwargs"' not in sql
    assert any('"values"' in sql for sql in queries_of(client, select=["thread_id"], extract={"a": "values.a"}))
    assert len(queries_of(client, select=["thread_id", "context"])) == 3


@pytest.fixture
def many(alice, bob, charlie):
    """Thousands of threads of one's own, of colleagues and of strangers, as the database's planner knows."""
    rows = []
    for owner, shared, count in ((alice, False, 3000), (bob, True, 2000), (bob, False, 1000), (charlie, True, 3000)):
        tenant = tenant_of(owner)
        for number in range(count):
            moment = NOW - timedelta(seconds=number)
            rows.append(
                Thread(
                    thread_id=str(new_id()),
                    organization_id=tenant.organization_id,
                    owner_id=tenant.user_id,
                    shared=shared,
                    updated_at=moment,
                    state_updated_at=moment,
                )
            )
    Thread.objects.bulk_create(rows, 500)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE runs_thread")


def plan_of(sql):
    with connection.cursor() as cursor:
        cursor.execute(("EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN ") + sql)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def test_a_page_is_read_by_index_without_sorting_or_scanning_all(client, many):
    for query in (
        {},
        {"sort_by": "updated_at", "sort_order": "asc"},
        {"offset": 50},
        {"status": "idle"},
        {"select": ["thread_id"]},
    ):
        for sql in queries_of(client, limit=20, **query):
            plan = plan_of(sql)
            assert "Seq Scan" not in plan and "SCAN runs_thread" not in plan, (query, plan)
            assert "Sort" not in plan and "TEMP B-TREE" not in plan, (query, plan)
    # A page of the newest of one's own.
    own = queries_of(client, limit=20, sort_by="created_at")[1]
    plan = plan_of(own)
    assert "thread_newest" in plan and "Sort" not in plan and "TEMP B-TREE" not in plan, plan


def test_a_thread_that_ran_is_found_with_what_its_run_told_of_it(client, alice):
    run = make_run(tenant_of(alice))
    assert ids(client, status="busy") == [run.thread_id]
