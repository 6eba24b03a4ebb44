"""Assistants: made, changed by versions, deleted; the system's stay as they are."""

import pytest

from runs.api import schema
from runs.calls import CallRefused
from runs.models import Assistant, AssistantVersion, Graph, Run, Thread
from runs.protocol.requests.assistants import AssistantSearch
from runs.services.assistants import _matching, search_assistants
from tests.api.engine import DRAWING, SCHEMAS
from tests.api.problems import locs, named
from tests.api.rows import fingerprint, make_rows
from tests.factories import api_client, make_run, make_thread, tenant_of

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"
WRITES = [
    ("patch", "", {"name": "x"}),
    ("patch", "", {"graph_id": "stress"}),
    ("post", "/latest", {"version": 1}),
    ("delete", "", None),
    ("delete", "?delete_threads=true", None),
]


@pytest.fixture
def make(client):
    def make(**over):
        return client.post("/assistants", {"graph_id": "echo", **over}).json()

    return make


def path_of(assistant):
    return f"/assistants/{assistant['assistant_id']}"


def versions(client, assistant, **query):
    return client.post(f"{path_of(assistant)}/versions", query).json()


# Made.


def test_an_unknown_graph_is_not_found_and_the_known_ones_are_named(client, make):
    assistant = make()
    before = fingerprint()
    for response in (
        client.post("/assistants", {"graph_id": "zzz"}),
        client.patch(path_of(assistant), {"graph_id": "zzz"}),
    ):
        assert response.status_code == 404
        expected = "Graph 'zzz' not found. Expected one of: ['broken', 'echo', 'stress']"
        assert response.json() == {"detail": expected}
    assert fingerprint() == before


@pytest.mark.parametrize(
    ("asked", "config", "context"),
    [
        ({}, {}, {}),
        ({"config": {"configurable": {"a": 1}}}, {"configurable": {"a": 1}}, {"a": 1}),
        ({"context": {"a": 1}}, {"configurable": {"a": 1}}, {"a": 1}),
        ({"config": {"tags": ["t"]}, "context": {"a": 1}}, {"tags": ["t"], "configurable": {"a": 1}}, {"a": 1}),
        (
            {"config": {"configurable": {"a": 1, "b": 2}}, "context": {"a": 1, "c": 3}},
            {"configurable": {"a": 1, "b": 2}},
            {"a": 1, "c": 3},
        ),
        ({"context": {}}, {}, {}),
        ({"config": {"configurable": {}}}, {"configurable": {}}, {}),
    ],
)
def test_configurable_and_context_mirror_each_other(make, asked, config, context):
    made = make(**asked)
    assert (made["config"], made["context"]) == (config, context)


def test_what_means_nothing_on_the_other_side_is_not_mirrored(make):
    """Else a context could set keys of `configurable` that only the server sets."""
    made = make(context={"user_id": "eve", "__pregel_resuming": True, "langgraph_x": 1, "thread_id": 5, "a": 1})
    assert made["config"] == {"configurable": {"a": 1}}


@pytest.mark.parametrize("place", [{"thread_id": "t"}, {"checkpoint_id": "c"}, {"checkpoint_map": {"": "c"}}])
def test_where_a_run_goes_on_is_not_for_an_assistant_to_say(client, make, place):
    path = path_of(make())
    before = fingerprint()
    body = {"config": {"configurable": {**place, "a": 1}}}
    for response in (client.post("/assistants", {"graph_id": "echo"} | body), client.patch(path, body)):
        assert response.status_code == 422
        assert next(iter(place)) in response.content.decode()
    assert fingerprint() == before


def test_two_truths_are_refused(client, make):
    assistant = make()
    before = fingerprint()
    wrong = {"config": {"configurable": {"model": "a"}}, "context": {"model": "b"}}
    for response in (client.post("/assistants", {"graph_id": "echo"} | wrong), client.patch(path_of(assistant), wrong)):
        assert response.status_code == 422
        assert "'model'" in response.json()["detail"][0]["msg"]
    assert fingerprint() == before


# Changed.


def test_a_patch_makes_a_version_and_keeps_what_it_does_not_name(client, make):
    made = make(name="mine", description="d", config={"tags": ["t"]}, context={"a": 1}, metadata={"a": 1, "b": 2})
    patched = client.patch(path_of(made), {"metadata": {"b": 3, "c": None}}).json()
    schema.Assistant.model_validate(patched)
    assert patched["version"] == 2
    assert patched["metadata"] == {"a": 1, "b": 3, "c": None}
    assert patched["updated_at"] > made["updated_at"]
    changed = {"version", "metadata", "updated_at"}
    assert {key for key in made if made[key] != patched[key]} == changed
    assert client.get(path_of(made)).json() == patched


def test_a_patch_replaces_what_it_names(client, make):
    made = make(name="mine", config={"tags": ["t"], "configurable": {"a": 1}})
    patched = client.patch(path_of(made), {"graph_id": "stress", "name": "new", "description": "d"}).json()
    assert (patched["graph_id"], patched["name"], patched["description"]) == ("stress", "new", "d")
    assert client.patch(path_of(made), {"context": {"b": 2}}).json()["config"] == {
        "tags": ["t"],
        "configurable": {"b": 2},
    }
    patched = client.patch(path_of(made), {"config": {"configurable": {"c": 3}}}).json()
    assert (patched["config"], patched["context"]) == ({"configurable": {"c": 3}}, {"c": 3})
    assert client.patch(path_of(made), {"description": ""}).json()["description"] == ""


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"graph_id": ""}, "graph_id"),
        ({"graph_id": 5}, "graph_id"),
        ({"graph_id": "x" * 65}, "graph_id"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"description": "x" * 4097}, "description"),
        ({"metadata": []}, "metadata"),
        ({"context": "x"}, "context"),
        ({"config": {"surprise": 1}}, "config"),
        ({"config": {"configurable": {"user_id": "x"}}}, "config"),
        ({"version": 7}, "version"),
        ({"assistant_id": UNKNOWN}, "assistant_id"),
        ({"if_exists": "raise"}, "if_exists"),
        ({"owner_id": "x"}, "owner_id"),
    ],
    ids=str,
)
def test_a_patch_that_can_not_be_is_refused_by_the_name_of_its_field(client, make, wrong, field):
    assistant = make()
    before = fingerprint()
    response = client.patch(path_of(assistant), wrong)
    assert response.status_code == 422
    assert named(response, "body", field), locs(response)
    assert fingerprint() == before


# Versions.


def test_versions_are_listed_newest_first_as_they_were(client, make):
    made = make(name="one", config={"configurable": {"a": 1}}, metadata={"a": 1})
    second = client.patch(path_of(made), {"name": "two", "context": {"a": 2}}).json()
    found = versions(client, made)
    assert [version["name"] for version in found] == ["two", "one"]
    schema.AssistantVersions.model_validate(found)
    for version, assistant in zip(found, (second, made), strict=True):
        own = {"updated_at", "created_at"}
        assert {key: value for key, value in assistant.items() if key not in own} == {
            key: value for key, value in version.items() if key not in own
        }


def test_versions_are_paged_and_filtered(client, make):
    made = make(metadata={"n": 1})
    for number in (2, 3, 4):
        client.patch(path_of(made), {"metadata": {"n": number}})
    assert [version["version"] for version in versions(client, made, limit=2)] == [4, 3]
    assert [version["version"] for version in versions(client, made, limit=2, offset=3)] == [1]
    assert [version["version"] for version in versions(client, made, metadata={"n": 2})] == [2]
    assert versions(client, made, metadata={"') OR 1=1--": 1}) == []


def test_a_version_is_made_current_and_the_next_one_is_above_all(client, make):
    made = make(name="one", context={"a": 1}, metadata={"a": 1})
    for name in ("two", "three"):
        client.patch(path_of(made), {"name": name, "context": {"a": name}, "graph_id": "stress"})
    back = client.post(f"{path_of(made)}/latest", {"version": 1}).json()
    schema.Assistant.model_validate(back)
    assert {key for key in made if made[key] != back[key]} == {"updated_at"}
    assert client.get(path_of(made)).json() == back
    assert client.post(f"{path_of(made)}/latest", {"version": 3}).json()["name"] == "three"
    client.post(f"{path_of(made)}/latest", {"version": 2})
    patched = client.patch(path_of(made), {"description": "d"}).json()
    assert (patched["version"], patched["name"]) == (4, "two")
    assert [version["version"] for version in versions(client, made)] == [4, 3, 2, 1]


def test_a_version_that_there_is_not_is_not_found(client, make):
    made = make()
    before = fingerprint()
    response = client.post(f"{path_of(made)}/latest", {"version": 2})
    assert (response.status_code, response.json()) == (404, {"detail": "The assistant has no such version."})
    assert fingerprint() == before


@pytest.mark.parametrize("version", [0, -1, 2**31, 2**63 - 1, "1", 1.0, True, None, [1]])
def test_what_is_no_number_of_a_version_is_refused(client, make, version):
    response = client.post(f"{path_of(make())}/latest", {"version": version})
    assert (response.status_code, locs(response)) == (422, [["body", "version"]])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"limit": 0}, "limit"), ({"limit": 1001}, "limit"), ({"offset": -1}, "offset"), ({"metadata": []}, "metadata")],
)
def test_a_list_of_versions_has_its_bounds(client, make, wrong, field):
    response = client.post(f"{path_of(make())}/versions", wrong)
    assert (response.status_code, locs(response)) == (422, [["body", field]])


def test_the_first_of_two_that_make_an_assistant_has_its_version(client, make):
    made = make(assistant_id=UNKNOWN)
    for if_exists in ("raise", "do_nothing"):
        client.post("/assistants", {"graph_id": "stress", "assistant_id": UNKNOWN, "if_exists": if_exists})
    assert len(versions(client, made)) == 1


# The system's.


@pytest.mark.parametrize(("method", "address", "body"), WRITES, ids=str)
def test_the_systems_assistant_stays_as_it_is(client, graphs, method, address, body):
    before = fingerprint()
    for name in ("echo", graphs["echo"].pk):
        response = getattr(client, method)(f"/assistants/{name}{address}", body)
        assert response.status_code == 409
        assert "the system's" in response.json()["detail"]
    assert fingerprint() == before


def test_the_systems_assistant_has_one_version(client, graphs):
    by_name = client.post("/assistants/echo/versions", {}).json()
    schema.AssistantVersions.model_validate(by_name)
    assert [(version["version"], version["graph_id"]) for version in by_name] == [(1, "echo")]
    assert client.post(f"/assistants/{graphs['echo'].pk}/versions", {}).json() == by_name
    assert client.post("/assistants/echo/versions", {"metadata": {"created_by": "system"}}).json() == by_name
    assert client.post("/assistants/echo/versions", {"metadata": {"created_by": "me"}}).json() == []
    assert client.post("/assistants/echo/versions", {"offset": 1}).json() == []


@pytest.mark.parametrize("name", ["nope", UNKNOWN])
@pytest.mark.parametrize(
    ("method", "address", "body"),
    [*WRITES, ("get", "", None), ("post", "/versions", {}), ("get", "/graph", None), ("get", "/schemas", None)],
    ids=str,
)
def test_an_assistant_that_there_is_not_is_not_found(client, name, method, address, body):
    response = getattr(client, method)(f"/assistants/{name}{address}", body)
    assert (response.status_code, response.json()) == (404, {"detail": "Assistant not found."})


# Deleted.


def test_what_is_deleted_is_gone_and_its_runs_stay(client, alice, make):
    made = make()
    client.patch(path_of(made), {"name": "two"})
    run = make_run(tenant_of(alice), assistant=Assistant.objects.get(pk=made["assistant_id"]), status="success")
    deleted = client.delete(path_of(made))
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert client.get(path_of(made)).status_code == client.delete(path_of(made)).status_code == 404
    assert not AssistantVersion.objects.exists()
    shown = client.get(f"/threads/{run.thread_id}/runs/{run.pk}").json()
    assert (shown["assistant_id"], shown["status"]) == (None, "success")


def test_threads_of_a_deleted_assistant_go_where_they_are_the_callers(client, alice, bob, make):
    made, other = make(), make()
    tenant, colleague = tenant_of(alice), tenant_of(bob)

    def thread(owner, assistant, **over):
        return make_thread(owner, metadata={"assistant_id": assistant["assistant_id"]}, **over).pk

    gone = {thread(tenant, made), thread(tenant, made, shared=True)}
    kept = {
        thread(tenant, other),
        make_thread(tenant).pk,
        thread(colleague, made),
        thread(colleague, made, shared=True),
    }
    assert client.delete(f"{path_of(made)}?delete_threads=false&x=1").status_code == 204
    assert set(Thread.objects.values_list("pk", flat=True)) == gone | kept
    made_again = client.post("/assistants", {"graph_id": "echo", "assistant_id": made["assistant_id"]}).json()
    assert client.delete(f"{path_of(made_again)}?delete_threads=true").status_code == 204
    assert set(Thread.objects.values_list("pk", flat=True)) == kept


def test_deleting_threads_is_asked_for_in_clear_words(client, make):
    made = make()
    response = client.delete(f"{path_of(made)}?delete_threads=perhaps")
    assert (response.status_code, locs(response)) == (422, [["query", "delete_threads"]])
    assert client.get(path_of(made)).status_code == 200


def test_a_colleague_changes_and_deletes_what_is_the_organizations(make, bob):
    made = make()
    colleague = api_client(bob)
    assert colleague.patch(path_of(made), {"name": "theirs"}).json()["version"] == 2
    assert colleague.delete(path_of(made)).status_code == 204


def test_a_run_uses_the_current_version(client, make):
    made = make(context={"color": "red"})
    client.patch(path_of(made), {"context": {"color": "blue"}})

    def color():
        run_id = client.post("/runs", {"assistant_id": made["assistant_id"], "input": {}}).json()["run_id"]
        return Run.objects.get(pk=run_id).kwargs["context"]["color"]

    assert color() == "blue"
    client.post(f"{path_of(made)}/latest", {"version": 1})
    assert color() == "red"


# Counted.


def test_a_count_is_of_what_a_search_finds(client, make, charlie):
    for number in range(3):
        make(name=f"Number {number}", metadata={"even": number % 2 == 0})
    make_rows(charlie, "theirs")
    for query, count in (
        ({"name": "NUMBER"}, 3),
        ({"metadata": {"even": True}}, 2),
        ({"graph_id": "echo", "metadata": {"even": False}}, 1),
        ({"graph_id": "stress"}, 1),
        ({"name": "%"}, 0),
        ({}, 6),
    ):
        assert client.post("/assistants/count", query).json() == count
        assert len(client.post("/assistants/search", {**query, "limit": 1000}).json()) == count


@pytest.mark.parametrize("wrong", [{"limit": 1}, {"name": 1}, {"graph_id": []}, {"metadata": []}], ids=str)
def test_a_count_knows_its_own_fields(client, wrong):
    response = client.post("/assistants/count", wrong)
    assert (response.status_code, locs(response)) == (422, [["body", *wrong]])


# What graphs look like.


def test_graphs_are_asked_for_by_name_and_by_id(client, graphs, engine):
    for name in ("echo", graphs["echo"].pk):
        assert client.get(f"/assistants/{name}/graph").json() == DRAWING
        assert client.get(f"/assistants/{name}/schemas").json() == SCHEMAS
        assert client.get(f"/assistants/{name}/subgraphs").json() == {"child": SCHEMAS}
        assert client.get(f"/assistants/{name}/subgraphs/child").json() == {"child": SCHEMAS}
    schema.Drawing.model_validate(DRAWING)
    schema.GraphSchemas.model_validate(SCHEMAS)


def test_what_is_asked_of_the_engine_is_what_the_caller_asked(client, alice, make, engine):
    made = make(config={"tags": ["t"], "configurable": {"a": 1}})
    client.get(f"{path_of(made)}/graph")
    client.get(f"{path_of(made)}/subgraphs?recurse=true")
    client.get(f"{path_of(made)}/subgraphs/outer%7Cinner")
    server = {"graph_id": "echo", "assistant_id": made["assistant_id"]}
    for _, params in engine.questions:
        assert params["config"] == {"tags": ["t"], "configurable": {"a": 1, **server}}
        assert (params["graph_id"], params["user_id"]) == ("echo", str(alice.pk))
    _, every, one = (params for _, params in engine.questions)
    assert (every["namespace"], every["recurse"]) == (None, True)
    assert (one["namespace"], one["recurse"]) == ("outer|inner", False)


@pytest.mark.parametrize(
    ("text", "xray"),
    [("", False), ("true", True), ("True", True), ("false", False), ("0", 0), ("1", 1), ("2", 2), ("100", 100)],
)
def test_an_xray_goes_as_deep_as_it_says(client, engine, text, xray):
    client.get("/assistants/echo/graph", {"xray": text})
    [(_, params)] = engine.questions
    assert params["xray"] == xray and type(params["xray"]) is type(xray)


@pytest.mark.parametrize("text", ["-1", "101", "1.5", "deep", "²", "1e3", "9" * 5000, "\0"])
def test_an_xray_that_says_nothing_known_is_named(client, engine, text):
    response = client.get("/assistants/echo/graph", {"xray": text})
    assert (response.status_code, locs(response)) == (422, [["query", "xray"]])
    assert engine.questions == []


@pytest.mark.parametrize("address", ["graph", "schemas", "subgraphs", "subgraphs/child"])
def test_a_graph_that_can_not_be_loaded_says_why(client, engine, address):
    response = client.get(f"/assistants/broken/{address}")
    assert (response.status_code, locs(response)) == (422, [["path", "assistant_id"]])
    assert "No module named 'nowhere'" in response.json()["detail"][0]["msg"]
    assert engine.questions == []


@pytest.mark.parametrize(("status", "answer"), [(422, 422), (404, 404), (503, 503), (500, 422)])
def test_what_an_engine_refuses_is_refused(client, engine, status, answer):
    engine.error = CallRefused(status, "the reason")
    response = client.get("/assistants/echo/schemas")
    assert response.status_code == answer
    assert "the reason" in response.content.decode()


def test_without_an_engine_it_is_worth_trying_again(client):
    response = client.get("/assistants/echo/graph")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


def test_an_assistant_of_a_broken_graph_can_still_be_made(client, make):
    """It runs when the graph is mended."""
    assert make(graph_id="broken")["graph_id"] == "broken"
    assert Graph.objects.get(graph_id="broken").error


# Many.


@pytest.mark.one_machine
def test_a_page_of_many_is_read_in_order_out_of_an_index(alice, client):
    """With thousands of them, to read and sort all would take a while."""
    own, system = (part.values_list("created_at", "pk") for part in _matching(tenant_of(alice), AssistantSearch()))
    plan = own.union(system, all=True).order_by("-created_at", "pk")[:11].explain()
    assert plan.count("COVERING INDEX assistant_newest") == 2
    assert "MERGE (UNION ALL)" in plan and "TEMP B-TREE" not in plan


def test_a_search_asks_twice_however_many_there_are(alice, make, django_assert_num_queries):
    for _ in range(5):
        make()
    tenant = tenant_of(alice)
    with django_assert_num_queries(2):
        found = search_assistants(tenant, AssistantSearch(limit=4))
    assert len(found) == 5
