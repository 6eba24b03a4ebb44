import threading
import uuid
from concurrent.futures import Future

from runs.engine.execution import current_run
from runs.engine.node_threads import NodeThreads


def work_of(threads: NodeThreads, run_id: uuid.UUID | None, ends: threading.Event) -> "Future[bool]":
    """Work that has begun and waits for `ends`."""
    began = threading.Event()
    token = current_run.set(run_id)

    def work() -> bool:
        began.set()
        return ends.wait(60)

    future = threads.submit(work)
    current_run.reset(token)
    assert began.wait(60)
    return future


def test_threads_of_runs_that_are_gone_are_counted_until_they_end() -> None:
    threads, ends = NodeThreads(4), threading.Event()
    mine, gone = uuid.uuid4(), uuid.uuid4()
    futures = [work_of(threads, run_id, ends) for run_id in (mine, gone, gone, None)]

    assert threads.abandoned({mine}) == 2
    assert threads.abandoned({mine, gone}) == 0

    ends.set()
    assert all(future.result(60) for future in futures)
    threads.shutdown()
    assert threads.abandoned(()) == 0
