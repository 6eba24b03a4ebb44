"""The desk: finds who answers a question, and words what went wrong for whoever asked."""

import logging
import sqlite3

import psycopg

from runs.engine.desk import graphs, items, state, threads
from runs.engine.desk.questions import Answer, Means, Params, Refused
from runs.engine.encode import to_json
from runs.engine.graphs import BrokenGraph, Registry, UnknownGraph
from runs.engine.storage import FencedSaver, StaleAttempt

logger = logging.getLogger(__name__)

_ANSWERS: dict[str, Answer] = {**state.ANSWERS, **graphs.ANSWERS, **items.ANSWERS, **threads.ANSWERS}


class Desk:
    """Answers calls; each answer is JSON."""

    def __init__(self, registry: Registry, saver: FencedSaver) -> None:
        self._means = Means(registry, saver)

    async def answer(self, method: str, params: Params) -> bytes:
        """Raises Refused, with 503 for what has nothing to do with the question."""
        try:
            return to_json(await _ANSWERS[method](self._means, params))
        except Refused:
            raise
        except (UnknownGraph, BrokenGraph) as exc:
            raise Refused(422, str(exc)) from exc
        except StaleAttempt as exc:
            raise Refused(409, "A newer run has taken the thread over.") from exc
        except (sqlite3.Error, psycopg.Error) as exc:
            logger.exception("the question '%s' was not answered: %s", method, _about(params))
            raise Refused(503, "The question could not be answered.") from exc
        except Exception as exc:  # a graph's own code runs here too
            logger.exception("the question '%s' made a graph fail: %s", method, _about(params))
            raise Refused(422, f"The graph failed to answer: {type(exc).__name__}.") from exc


def _about(params: Params) -> str:
    """What the question was about, for the log."""
    return " ".join(f"{key}={params[key]}" for key in ("graph_id", "thread_id") if params.get(key))
