"""The figures that the server is to reach, and what comparable servers reach.

The peers were measured with the same cases on a quiet machine with two cores, which the driver shared: the best of two
open servers of the same protocol, in brackets the best with Redis. They stay what they were there; only what one run
measures on one machine compares exactly, and for that there is raw LangGraph (`bench.baseline`).
"""

from dataclasses import dataclass
from typing import Literal

Shape = Literal["sqlite", "postgres"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a case measures, and what it should be."""

    case: str
    metric: str
    unit: str
    #: What to reach on one machine with SQLite.
    sqlite: float
    #: What to reach with PostgreSQL, a worker and Redis.
    postgres: float
    peer: str = "-"
    #: Name of the figure of raw LangGraph that it compares with.
    raw: str | None = None
    less_is_better: bool = False

    def goal(self, shape: Shape) -> float:
        return self.sqlite if shape == "sqlite" else self.postgres

    def is_reached(self, value: float, shape: Shape) -> bool:
        goal = self.goal(shape)
        return value <= goal if self.less_is_better else value >= goal


FIGURES = (
    Figure("wait_seq", "p50_ms", "ms", 7, 20, "23.9 [2015]", "saver_echo_ms", True),
    Figure("wait_conc", "runs_per_s", "runs/s", 150, 100, "49 [7.6]", "saver_echo_runs_per_s"),
    Figure("stateless", "runs_per_s", "runs/s", 250, 150, "49 [7.4]", "saver_echo_runs_per_s"),
    Figure("first_event", "first_p50_ms", "ms", 5, 10, "11 [19]", None, True),
    Figure("first_event", "end_p50_ms", "ms", 9, 20, "21 [33]", "saver_echo_ms", True),
    Figure("tokens", "events_per_s", "events/s", 15_000, 10_000, "5 900 [1 160]", "token_events_per_s"),
    Figure("tokens_conc", "events_per_s", "events/s", 15_000, 10_000, "4 400 [1 320]", "token_events_per_s"),
    Figure("fanout", "events_per_s", "events/s", 13_000, 13_000, "9 300 [7 500]", "fanout_events_per_s"),
    Figure("background", "done_per_s", "runs/s", 150, 100, "49 [38]", "saver_echo_runs_per_s"),
    Figure("slow_conc", "seconds", "s", 1.3, 1.5, "2.6 [6.8]", "slow_seconds", True),
    Figure("idle_streams", "streams", "streams", 2_000, 2_000),
    Figure("idle_streams", "kb_per_stream", "KB", 30, 30, less_is_better=True),
    Figure("idle_streams", "threads", "threads", 0, 0, less_is_better=True),
    Figure("idle_streams", "sqlite_fds", "files", 0, 0, less_is_better=True),
)
