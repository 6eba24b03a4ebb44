"""Commands of the Agent Streaming Protocol as tests send them, and threads that wait for answers."""

from typing import Any

from rest_framework.test import APIClient

from accounts.models import User
from runs.models import Run, Thread
from runs.states import RunStatus, ThreadStatus
from tests.api.engine import STATE
from tests.api.rows import fingerprint
from tests.factories import make_run, make_thread, tenant_of

ASK = "a" * 32
OTHER = "b" * 32
CHECKPOINT = STATE["checkpoint_id"]
SAID = {"role": "user", "content": "hello"}


def send(client: APIClient, thread: Thread | str, method: str, /, prefix: str = "", **params: Any) -> Any:
    thread_id = thread if isinstance(thread, str) else thread.pk
    response = client.post(f"{prefix}/threads/{thread_id}/commands", {"id": 7, "method": method, "params": params})
    assert response.status_code == 200, response.content
    answer = response.json()
    assert answer["id"] == 7
    return answer


def result(client: APIClient, thread: Thread | str, method: str, /, **params: Any) -> Any:
    answer = send(client, thread, method, **params)
    assert answer["type"] == "success", answer
    return answer["result"]


def refused(client: APIClient, thread: Thread | str, method: str, /, **params: Any) -> tuple[str, str]:
    """The code and the message of a command that fails, which writes nothing."""
    before = fingerprint()
    answer = send(client, thread, method, **params)
    assert answer["type"] == "error", answer
    assert set(answer) == {"type", "id", "error", "message"}
    assert fingerprint() == before
    return answer["error"], answer["message"]


def start(client: APIClient, thread: Thread | str, **params: Any) -> Run:
    started = result(client, thread, "run.start", assistant_id="echo", **params)
    assert set(started) == {"run_id"}
    return Run.objects.get(pk=started["run_id"])


def waits(user: User, *ids: str, **over: Any) -> Thread:
    interrupts = {f"task-{name}": [{"id": name, "value": "go on?"}] for name in ids}
    thread = make_thread(tenant_of(user), interrupts=interrupts, last_seq=5)
    make_run(tenant_of(user), thread, **{"status": RunStatus.SUCCESS, "after_seq": 0} | over)
    thread.status = thread.settled_status = ThreadStatus.INTERRUPTED
    thread.save()
    return thread
