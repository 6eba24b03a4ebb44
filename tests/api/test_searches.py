"""Searches: pages, order, selection, and filters by whatever keys and values callers have."""

import pytest

from tests.api.problems import named
from tests.factories import make_run, make_thread, tenant_of

BAD_SEARCHES = [
    ({"limit": 0}, "limit"),
    ({"limit": -1}, "limit"),
    ({"limit": 1001}, "limit"),
    ({"limit": 10**9}, "limit"),
    ({"limit": "10"}, "limit"),
    ({"limit": 1.0}, "limit"),
    ({"limit": True}, "limit"),
    ({"limit": None}, "limit"),
    ({"offset": -1}, "offset"),
    ({"offset": 2**31 + 1}, "offset"),
    ({"offset": 2**63 - 1}, "offset"),
    ({"sort_by": "owner_id"}, "sort_by"),
    ({"sort_by": "owner__password"}, "sort_by"),
    ({"sort_by": "-created_at"}, "sort_by"),
    ({"sort_by": ["created_at"]}, "sort_by"),
    ({"sort_order": "; DROP TABLE runs_thread"}, "sort_order"),
    ({"sort_order": "ASC"}, "sort_order"),
    ({"select": "name"}, "select"),
    ({"select": ["owner_id"]}, "select"),
    ({"select": ["metadata__x"]}, "select"),
    ({"select": ["metadata"] * 51}, "select"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {str(number): 1 for number in range(51)}}, "metadata"),
]

HOSTILE_KEYS = [
    "') OR 1=1--",
    "'; DROP TABLE runs_thread;--",
    "$eq",
    "$.a",
    "a.b",
    "a[0]",
    "[0]",
    "*",
    "#-1",
    "__proto__",
    "__class__",
    "user__password__startswith",
    "owner__email__contains",
    "pk__in",
    "%s",
    "{0}",
    "x" * 255,
    "ключ",
    "0",
    "-1",
    "1_0",
    " 7 ",
    "",
    'a"b',
    "a\\b",
    '"',
    "\\",
    "'",
    "line\nbreak",
    "tab\t",
    "x" * 10_000,
]

HOSTILE_VALUES = [
    "x",
    "' OR 1=1--",
    "(a+)+$",
    1,
    0,
    -1,
    1.5,
    2**63 - 1,
    True,
    False,
    None,
    [],
    {},
    [1, [2]],
    {"a": {"b": None}},
    "x" * 100_000,
]


@pytest.mark.parametrize("what", ["threads", "assistants"])
def test_a_search_is_paged(client, what):
    names = [
        client.post(
            f"/{what}", {"metadata": {"mine": number}} | ({"graph_id": "echo"} if what == "assistants" else {})
        ).json()
        for number in range(5)
    ]
    mine = [row["metadata"]["mine"] for row in names]
    seen, offset = [], 0
    while offset is not None:
        response = client.post(
            f"/{what}/search", {"limit": 2, "offset": offset, "sort_by": "created_at", "sort_order": "asc"}
        )
        seen += [row["metadata"]["mine"] for row in response.json() if "mine" in row["metadata"]]
        total = int(response.headers["x-pagination-total"])
        assert total == offset + len(response.json()) + ("x-pagination-next" in response.headers)
        following = response.headers.get("x-pagination-next")
        assert following is None or int(following) == offset + 2
        offset = following and int(following)
    assert seen == mine


@pytest.mark.parametrize("what", ["threads", "assistants"])
def test_a_search_is_newest_first_and_sorted_as_asked(client, what):
    for number in range(3):
        client.post(
            f"/{what}", {"metadata": {"mine": number}} | ({"graph_id": "stress"} if what == "assistants" else {})
        )

    def order(**query):
        rows = client.post(f"/{what}/search", query).json()
        return [row["metadata"]["mine"] for row in rows if "mine" in row["metadata"]]

    assert order() == order(sort_order="desc") == order(sort_by="created_at") == [2, 1, 0]
    assert order(sort_by="created_at", sort_order="asc") == [0, 1, 2]


def test_a_selection_holds_no_other_keys(client, alice):
    run = make_run(tenant_of(alice))
    assert client.post("/threads/search", {"select": ["thread_id", "status"]}).json() == [
        {"thread_id": run.thread_id, "status": "busy"}
    ]
    assert client.post("/assistants/search", {"select": ["graph_id"], "graph_id": "echo"}).json() == [
        {"graph_id": "echo"}
    ]
    for query in ("select=run_id&select=status", "select=run_id,status"):
        assert client.get(f"/threads/{run.thread_id}/runs?{query}").json() == [
            {"run_id": str(run.pk), "status": "pending"}
        ]


@pytest.mark.parametrize("field", ["context", "cancel_reason"])
def test_fields_that_clients_know_may_be_selected(client, alice, field):
    """Some names of the clients' type definitions have no value here."""
    run = make_run(tenant_of(alice))
    if field == "context":
        assert client.post("/threads/search", {"select": ["thread_id", "context"]}).json() == [
            {"thread_id": run.thread_id}
        ]
    else:
        assert client.get(f"/threads/{run.thread_id}/runs?select=run_id&select=cancel_reason").json() == [
            {"run_id": str(run.pk)}
        ]


def test_runs_are_listed_newest_first_by_status_and_page(client, alice):
    thread = make_thread(tenant_of(alice))
    made = [make_run(tenant_of(alice), thread, status=status) for status in ("success", "error", "success", "pending")]
    path = f"/threads/{thread.pk}/runs"
    newest_first = [str(run.pk) for run in reversed(made)]
    assert [run["run_id"] for run in client.get(path).json()] == newest_first
    assert [run["run_id"] for run in client.get(f"{path}?limit=2&offset=1").json()] == newest_first[1:3]
    assert [run["run_id"] for run in client.get(f"{path}?status=success").json()] == [str(made[2].pk), str(made[0].pk)]


@pytest.mark.parametrize(("wrong", "field"), BAD_SEARCHES, ids=[str(wrong)[:40] for wrong, _ in BAD_SEARCHES])
@pytest.mark.parametrize("what", ["threads", "assistants"])
def test_a_search_that_can_not_be_is_refused_by_the_name_of_its_field(client, what, wrong, field):
    response = client.post(f"/{what}/search", wrong)
    assert response.status_code == 422
    assert named(response, "body", field)


@pytest.mark.parametrize(
    ("what", "wrong", "field"),
    [
        ("threads", {"status": "sleeping"}, "status"),
        ("threads", {"ids": "x"}, "ids"),
        ("threads", {"ids": [1]}, "ids"),
        ("threads", {"ids": ["x"] * 1001}, "ids"),
        ("threads", {"values": []}, "values"),
        ("threads", {"graph_id": "echo"}, "graph_id"),
        ("assistants", {"name": 1}, "name"),
        ("assistants", {"name": "x" * 256}, "name"),
        ("assistants", {"graph_id": []}, "graph_id"),
    ],
)
def test_a_search_knows_its_own_fields(client, what, wrong, field):
    response = client.post(f"/{what}/search", wrong)
    assert response.status_code == 422
    assert named(response, "body", field)


@pytest.mark.parametrize("key", HOSTILE_KEYS, ids=lambda key: key[:30])
@pytest.mark.parametrize("what", ["threads", "assistants"])
def test_a_key_of_metadata_is_looked_up_as_it_is(client, what, key):
    made = client.post(
        f"/{what}",
        {"graph_id": "echo", "metadata": {key: "here"}} if what == "assistants" else {"metadata": {key: "here"}},
    )
    assert made.status_code == 200
    found = client.post(f"/{what}/search", {"metadata": {key: "here"}})
    assert [row["metadata"] for row in found.json()] == [{key: "here"}]
    assert client.post(f"/{what}/search", {"metadata": {key: "there"}}).json() == []


@pytest.mark.parametrize("what", ["threads", "assistants"])
@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=lambda value: str(value)[:30])
def test_a_value_of_metadata_is_found_again(client, what, value):
    """Threads are written by hand and assistants by Django, which do not write JSON alike."""
    kept = []
    for other in [*HOSTILE_VALUES, value]:
        made = client.post(
            f"/{what}", {"metadata": {"key": other}} | ({"graph_id": "echo"} if what == "assistants" else {})
        )
        kept.append(made.json()["metadata"])
    found = client.post(f"/{what}/search", {"metadata": {"key": value}, "limit": 1000}).json()
    assert [row["metadata"] for row in found if type(row["metadata"]["key"]) is type(value)] == [{"key": value}] * 2
    assert len(found) == 2


@pytest.mark.parametrize("what", ["threads", "assistants"])
@pytest.mark.parametrize(
    ("kept", "wanted", "is_found"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ([1, {"a": 1.0}], [1.0, {"a": 1}], True),
        ([1], [True], False),
        ([1], [1, 1], False),
        ({"a": None}, {}, False),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": None}}, False),
        (["é"], ["e\u0301"], False),
        ([1e300], [1e300], True),
    ],
    ids=str,
)
def test_objects_and_lists_are_compared_by_what_is_in_them(client, what, kept, wanted, is_found):
    client.post(
        f"/{what}",
        {"graph_id": "echo"} | {"metadata": {"key": kept}} if what == "assistants" else {"metadata": {"key": kept}},
    )
    assert len(client.post(f"/{what}/search", {"metadata": {"key": wanted}}).json()) == is_found
    assert client.post(f"/{what}/count", {"metadata": {"key": wanted}}).json() == is_found


def test_a_metadata_key_that_is_absent_is_not_null(client):
    client.post("/threads", {"metadata": {"another": 1}})
    assert client.post("/threads/search", {"metadata": {"key": None}}).json() == []


def test_all_keys_of_a_filter_must_fit(client):
    client.post("/threads", {"metadata": {"a": 1, "b": 2}})
    assert len(client.post("/threads/search", {"metadata": {"a": 1, "b": 2}}).json()) == 1
    assert client.post("/threads/search", {"metadata": {"a": 1, "b": 3}}).json() == []
    assert len(client.post("/threads/search", {"metadata": {}}).json()) == 1


def test_metadata_is_found_after_a_patch(client):
    thread_id = client.post("/threads", {"metadata": {"имя": ["é"]}}).json()["thread_id"]
    for _ in range(2):
        found = client.post("/threads/search", {"metadata": {"имя": ["é"]}}).json()
        assert [thread["thread_id"] for thread in found] == [thread_id]
        client.patch(f"/threads/{thread_id}", {"metadata": {"more": 1}})


def test_odd_ids_are_searched_for_in_vain(client):
    response = client.post("/threads/search", {"ids": ["", "x" * 10_000, "' OR 1=1--", "%", "é"]})
    assert (response.status_code, response.json()) == (200, [])
