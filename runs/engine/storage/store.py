"""The store that graphs are given: LangGraph's, with namespaces for each tenant, behind the fence of checkpoints.

What a run writes is refused once its claim is another's. Nobody sees the part of a namespace that tells tenants apart.
"""

import asyncio
import copy
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchOp,
)

from runs.engine.storage.database import Session
from runs.engine.storage.fence import Writer
from runs.engine.storage.pen import CheckpointPen
from runs.engine.storage.readers import Readers

Namespace = tuple[str, ...]


class ReadOnly(Exception):
    """Items of the store are written by runs only."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant's part of the store."""

    organization_id: str
    #: None: of the organisation's runs that belong to nobody.
    owner_id: str | None

    @property
    def prefix(self) -> Namespace:
        return self.organization_id, self.owner_id or "-"


class ScopedStore(BaseStore):
    """The store as one run sees it, or without a writer one question about state."""

    # Nothing deletes what has expired: LangGraph refuses a `ttl` then.
    supports_ttl = False

    def __init__(self, pen: CheckpointPen, readers: Readers, scope: Scope, writer: Writer | None) -> None:
        self._pen = pen
        self._readers = readers
        self._prefix = scope.prefix
        self._writer = writer

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        return self._submit(list(ops)).result()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return await asyncio.wrap_future(self._submit(list(ops)))

    def _submit(self, ops: list[Op]) -> Future[list[Result]]:
        work = self._work([_placed(op, self._prefix) for op in ops])
        if not any(isinstance(op, PutOp) for op in ops):
            return self._readers.submit(work)
        if self._writer is None:
            raise ReadOnly
        return self._pen.submit(work, writer=self._writer)

    def _work(self, ops: list[Op]) -> Callable[[Session], list[Result]]:
        depth = len(self._prefix)
        return lambda session: [_seen(result, depth) for result in session.store.batch(ops)]


def _placed(op: Op, prefix: Namespace) -> Op:
    """The operation on the items below `prefix`."""
    match op:
        case GetOp() | PutOp():
            return op._replace(namespace=(*prefix, *op.namespace))
        case SearchOp():
            return op._replace(namespace_prefix=(*prefix, *op.namespace_prefix))
        case ListNamespacesOp():
            conditions = [_placed_condition(condition, prefix) for condition in op.match_conditions or ()]
            return op._replace(
                match_conditions=(MatchCondition("prefix", prefix), *conditions),
                max_depth=op.max_depth and op.max_depth + len(prefix),
            )
    raise TypeError(f"not an operation of a store: {type(op).__name__}")


def _placed_condition(condition: MatchCondition, prefix: Namespace) -> MatchCondition:
    if condition.match_type == "prefix":
        return MatchCondition("prefix", (*prefix, *condition.path))
    return condition


def _seen(result: Any, depth: int) -> Any:
    """A result without the first `depth` parts of its namespaces."""
    if isinstance(result, Item):
        seen = copy.copy(result)
        seen.namespace = result.namespace[depth:]
        return seen
    if isinstance(result, tuple):
        return result[depth:]
    if isinstance(result, list):
        return [_seen(each, depth) for each in result]
    return result
