"""What `make bench` measures and prints, on a server that runs nothing. How fast anything is, no test says."""

import asyncio
import functools
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import test_utils

from bench import baseline, cases, driver, report
from bench.client import Api, Unexpected, open_session
from bench.figures import FIGURES
from bench.graphs import graphs
from bench.idle import idle_streams
from tests.bench.fake_server import FakeServer

BENCH = Path(__file__).parents[2] / "bench"

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process holds")

#: Every case, as small as it can be.
SMALL = {
    "wait_seq": functools.partial(cases.wait_seq, runs=2, warm=1),
    "wait_conc": functools.partial(cases.wait_conc, runs=4, clients=2),
    "stateless": functools.partial(cases.stateless, runs=4, clients=2),
    "first_event": functools.partial(cases.first_event, runs=2, warm=1),
    "tokens": functools.partial(cases.tokens, count=3),
    "tokens_conc": functools.partial(cases.tokens_conc, count=3, streams=2),
    "fanout": functools.partial(cases.fanout, count=3, readers=2, delay=0.0),
    "background": functools.partial(cases.background, runs=3),
    "slow_conc": functools.partial(cases.slow_conc, runs=2, sleep=0.0),
    "idle_streams": functools.partial(idle_streams, streams=4, runs=2, hold=0.0, pid=os.getpid()),
}


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
async def url(server: FakeServer) -> AsyncIterator[str]:
    async with test_utils.TestServer(server.app()) as running:
        yield str(running.make_url("/"))


@pytest.fixture
async def api(url: str) -> AsyncIterator[Api]:
    async with open_session({}) as session:
        yield Api(session, url)


def test_every_case_has_its_small_form() -> None:
    assert tuple(SMALL) == driver.NAMES


@pytest.mark.parametrize("case", [*cases.CASES, pytest.param(driver.IDLE, marks=on_linux)])
async def test_a_case_measures_the_figures_that_it_is_to_reach(api: Api, case: str) -> None:
    measured = await SMALL[case](api)

    assert {figure.metric for figure in FIGURES if figure.case == case} <= set(measured)


async def test_events_are_counted_across_the_borders_of_what_arrives(api: Api) -> None:
    stream = await api.stream("/threads/t/runs/stream", {"config": {"configurable": {"n": 30}}})

    assert stream.events == 32


async def test_idle_streams_are_open_at_the_same_time_and_their_runs_cancelled(api: Api, server: FakeServer) -> None:
    measured = await idle_streams(api, streams=7, runs=3, hold=0.0)

    assert (measured["streams"], measured["lost"], server.most_streams) == (7, 0, 7)
    assert server.cancelled == {"0", "1", "2"}


async def test_streams_that_the_server_refuses_are_lost(api: Api, server: FakeServer) -> None:
    server.room = 5

    measured = await idle_streams(api, streams=7, runs=3, hold=0.0)

    assert (measured["streams"], measured["lost"]) == (5, 2)


async def test_there_is_no_figure_when_every_stream_is_refused(api: Api, server: FakeServer) -> None:
    server.room = 0

    with pytest.raises(Unexpected, match="/threads/t/runs/0/stream: 503 no room"):
        await idle_streams(api, streams=7, runs=3, hold=0.0)
    assert server.cancelled == {"0", "1", "2"}


async def test_a_wrong_answer_fails_its_case_and_no_other(api: Api, server: FakeServer) -> None:
    server.answer = "something else"

    failed = await driver.attempt(SMALL["wait_conc"], api)
    assert str(failed["error"]).startswith("Unexpected: echo answered")
    assert "error" not in await driver.attempt(SMALL["tokens"], api)


async def test_nothing_is_measured_of_a_server_that_does_not_answer() -> None:
    samples = driver.Samples()

    await driver.drive(f"http://127.0.0.1:{test_utils.unused_port()}", {}, SMALL, samples.add)

    assert samples.failed
    assert list(samples.medians()) == ["warm_up"]


async def test_the_script_measures_a_running_server(url: str, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = [str(BENCH / "run.py"), "--url", url, "--only", "wait_seq", "--no-baseline", "--json", str(found)]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()

    assert process.returncode == 0
    assert "wait_seq" in printed.decode()
    assert [json.loads(line)["case"] for line in found.read_text().splitlines()] == ["machine", "baseline", "wait_seq"]


async def test_raw_langgraph_is_measured_for_every_figure_that_names_it() -> None:
    raw = await baseline.measure(runs=16, tokens=5, sleepers=0)

    assert {figure.raw for figure in FIGURES if figure.raw} <= set(raw)


def test_langgraph_json_names_the_graphs() -> None:
    named = json.loads((BENCH / "graphs" / "langgraph.json").read_text())["graphs"]

    assert set(named) == {"echo", "tokens", "slow", "flood"}
    assert all(hasattr(graphs, path.rpartition(":")[2]) for path in named.values())


def test_several_passes_give_the_median_and_keep_the_first_error() -> None:
    results: list[driver.Result] = [{"s": 3.0}, {"error": "first"}, {"s": 1.0}, {"s": 2.0}, {"error": "next"}]

    assert driver.median(results) == {"s": 2.0, "error": "first"}


def test_the_table_sets_a_figure_beside_its_goal_and_raw_langgraph() -> None:
    table = report.table({"wait_seq": {"p50_ms": 8.0, "p95_ms": 12.5}}, {"saver_echo_ms": 4.0}, "sqlite")

    assert table.splitlines()[1].split() == (
        ["wait_seq", "p50_ms", "8", "ms", "<=", "7", "no", "23.9", "[2015]", "4", "2.00", "p95_ms", "12.5"]
    )


def test_the_table_names_cases_that_failed() -> None:
    assert report.table({"tokens": {"error": "it broke"}}, {}, "sqlite").splitlines()[-1] == "tokens failed: it broke"


def test_an_unknown_case_is_refused_by_name() -> None:
    with pytest.raises(SystemExit, match="no case wiat_seq"):
        driver.read_names("tokens,wiat_seq")
