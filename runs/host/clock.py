"""The one tick a second of a cluster: procrastinate sees that each second is one job, which any worker takes."""

from collections.abc import Awaitable, Callable

import procrastinate
from procrastinate.jobs import Status

from runs.postgres import connection_parameters

_NAME = "runs.tick"
_POLL_SECONDS = 0.5
_LOST_AFTER_SECONDS = 30
_CLEAR_EVERY_SECONDS = 60


async def keep_time(tick: Callable[[], Awaitable[None]]) -> None:
    """Call `tick` when it is this process's turn, until cancelled. Raises what the database raises when it goes away.

    A second is lost when nobody was there in it; two ticks may overlap when one takes longer than that.
    """
    connector = procrastinate.PsycopgConnector(
        kwargs=connection_parameters("clock"), min_size=1, max_size=2, timeout=2, reconnect_timeout=2
    )
    app = procrastinate.App(connector=connector)

    @app.periodic(cron="* * * * * *")
    @app.task(name=_NAME, queue=_NAME, queueing_lock=_NAME)
    async def job(timestamp: int) -> None:
        await tick()
        if timestamp % _CLEAR_EVERY_SECONDS == 0:
            await _clear(app)

    async with app.open_async():
        await app.run_worker_async(
            queues=[_NAME],
            concurrency=1,
            delete_jobs="always",
            install_signal_handlers=False,
            # A job comes every second anyway: being told of it would take one more connection.
            listen_notify=False,
            fetch_job_polling_interval=_POLL_SECONDS,
            shutdown_graceful_timeout=0,
        )


async def _clear(app: procrastinate.App) -> None:
    """Delete the jobs of workers that were lost in the middle of one."""
    for job in await app.job_manager.get_stalled_jobs(
        queue=_NAME, task_name=_NAME, seconds_since_heartbeat=_LOST_AFTER_SECONDS
    ):
        await app.job_manager.finish_job(job, status=Status.ABORTED, delete_job=True)
