"""Runs that are cancelled twice, before they began, and while they end."""

import asyncio
import random
from collections import Counter

import httpx
import pytest
from rest_framework.test import APIClient

from accounts.models import User
from tests.api.rows import fingerprint
from tests.behaviours.asking import background, frames, new_thread, status_of
from tests.e2e.ledger import Ledger
from tests.factories import make_run, tenant_of

_SEED = 20261120


@pytest.mark.parametrize(("query", "status"), [("action=interrupt", 200), ("action=rollback&wait=1", 204)])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_follows_and_cancels_what_is_cancelled_gets_its_end(
    api: APIClient, alice: User, method: str, query: str, status: int
) -> None:
    run = make_run(tenant_of(alice))
    path = f"/api/threads/{run.thread_id}/runs/{run.pk}"
    assert api.post(f"{path}/cancel").status_code == 202
    before = fingerprint()
    assert api.generic(method, f"{path}/stream?{query}").status_code == status
    assert fingerprint() == before


def test_a_running_run_may_be_cancelled_twice_and_the_first_time_counts(api: APIClient, alice: User) -> None:
    run = make_run(tenant_of(alice), status="running")
    path = f"/api/threads/{run.thread_id}/runs/{run.pk}/cancel"
    for action in ("interrupt", "interrupt", "rollback"):
        response = api.post(f"{path}?action={action}")
        assert (response.status_code, response.content) == (202, b"")
    run.refresh_from_db()
    assert (run.status, run.cancel_action) == ("running", "interrupt")


async def test_a_run_that_is_cancelled_before_its_turn_never_begins_and_its_stream_ends(
    http: httpx.AsyncClient, ledger: Ledger
) -> None:
    thread_id, plan = new_thread(), {"delay": 3600, "ledger": str(ledger.path)}
    first = await background(http, thread_id, "stress", plan)
    waiting = await background(http, thread_id, "stress", plan, multitask_strategy="enqueue")
    path = f"/threads/{thread_id}/runs/{waiting}"
    reader = asyncio.create_task(http.get(f"{path}/stream"))
    assert (await http.post(f"{path}/cancel?wait=true")).status_code == 204
    assert frames((await reader).text) == [("cancel", None), ("end", None)]
    assert await status_of(http, thread_id, waiting) == "interrupted"
    await http.post(f"/threads/{thread_id}/runs/{first}/cancel?wait=true")
    assert ledger.lines(waiting) == []


async def test_when_a_run_ends_as_it_is_cancelled_the_caller_is_told_which_came_first(http: httpx.AsyncClient) -> None:
    chance = random.Random(_SEED)

    async def meet() -> tuple[int, str, str]:
        thread_id = new_thread()
        run_id = await background(http, thread_id, "stress", {"delay": 0.05})
        path = f"/threads/{thread_id}/runs/{run_id}"
        # Anywhere around the end: this is what is tried, and not waited for.
        await asyncio.sleep(chance.random() * 0.3)
        answer = await http.post(f"{path}/cancel?wait=true")
        last = [event for event, _ in frames((await http.get(f"{path}/stream")).text)][-2]
        return answer.status_code, await status_of(http, thread_id, run_id), last

    outcomes = Counter([await meet() for _ in range(3)] + await asyncio.gather(*(meet() for _ in range(30))))
    assert set(outcomes) <= {(204, "interrupted", "cancel"), (409, "success", "values")}, outcomes
