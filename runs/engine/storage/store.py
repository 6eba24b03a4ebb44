"""The store that graphs and callers are given: LangGraph's, with namespaces for each tenant.

What a run writes goes behind the fence of checkpoints: it is refused once its claim is another's. Nobody sees the part
of a namespace that tells tenants apart.
"""

import asyncio
import copy
import math
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
    TTLConfig,
)

from runs.engine.storage.database import Place, Session
from runs.engine.storage.fence import Writer
from runs.engine.storage.filters import with_operators
from runs.engine.storage.index import Index, Vectors
from runs.engine.storage.pen import CheckpointPen
from runs.engine.storage.readers import Readers
from runs.engine.storage.storable import storable

Namespace = tuple[str, ...]


class ReadOnly(Exception):
    """A question about state writes no items."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(frozen=True, slots=True)
class Keeping:
    """How a site keeps items."""

    index: Index | None = None
    #: As LangGraph's stores take it; None: items stay that are put without a lifetime.
    ttl: TTLConfig | None = None


#: For ever, without an index.
KEEP_ALL = Keeping()


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
    """A tenant's items: as one run sees them, which writes as `writer`; or one caller, or a question about state."""

    supports_ttl = True

    def __init__(
        self,
        pen: CheckpointPen,
        readers: Readers,
        keeping: Keeping,
        scope: Scope,
        *,
        writer: Writer | None = None,
        writes: bool = False,
    ) -> None:
        self._pen = pen
        self._readers = readers
        self._index = keeping.index
        self.ttl_config = keeping.ttl
        self._prefix = scope.prefix
        self._writer = writer
        self._writes = writes

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        ops = self._allowed(ops)
        return self._submit(ops, self._index.vectors(ops) if self._index else {}).result()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        ops = self._allowed(ops)
        return await asyncio.wrap_future(self._submit(ops, await self._index.avectors(ops) if self._index else {}))

    def _allowed(self, ops: Iterable[Op]) -> list[Op]:
        ops = [storable(op) for op in ops]
        if not self._writes and any(isinstance(op, PutOp) for op in ops):
            raise ReadOnly
        return ops

    def _submit(self, ops: list[Op], vectors: Vectors) -> Future[list[Result]]:
        work = self._work(ops, vectors)
        if not any(isinstance(op, PutOp) for op in ops):
            return self._readers.submit(work)
        return self._pen.submit(work, writer=self._writer)

    def _work(self, ops: list[Op], vectors: Vectors) -> Callable[[Session], list[Result]]:
        placed = [_placed(op, self._prefix, by_meaning=self._index is not None) for op in ops]

        def work(session: Session) -> list[Result]:
            found = [_page(*each) for each in zip(ops, placed, session.items(placed, vectors), strict=True)]
            if read := [place for op, result in zip(ops, found, strict=True) for place in _renewed(op, result)]:
                self._renew(session.expiring(read))
            return [_seen(result, len(self._prefix)) for result in found]

        return work

    def _renew(self, places: list[Place]) -> None:
        """Let their lifetimes begin anew. Nobody waits for it: it is a write, and whoever asked only reads."""
        if places:
            self._pen.submit(lambda session: session.renew(places))


def _placed(op: Op, prefix: Namespace, *, by_meaning: bool) -> Op:
    """The operation on the items below `prefix`. No read writes: lifetimes are renewed apart from it."""
    match op:
        case GetOp():
            return op._replace(namespace=(*prefix, *op.namespace), refresh_ttl=False)
        case PutOp():
            # Whole minutes are what PostgreSQL can renew.
            ttl = None if op.ttl is None else max(0, math.ceil(op.ttl))
            return op._replace(namespace=(*prefix, *op.namespace), ttl=ttl)
        case SearchOp():
            op = op._replace(namespace_prefix=(*prefix, *op.namespace_prefix), refresh_ttl=False)
            op = op._replace(filter=with_operators(op.filter) if op.filter else None)
            # By meaning, LangGraph looks at twice as many as are asked for, and then leaves out the first.
            return op._replace(limit=op.offset + op.limit, offset=0) if by_meaning and op.query else op
        case ListNamespacesOp():
            conditions = [placed for each in op.match_conditions or () for placed in _placed_condition(each, prefix)]
            return op._replace(
                match_conditions=(MatchCondition("prefix", prefix), *conditions),
                max_depth=op.max_depth and op.max_depth + len(prefix),
            )
    raise TypeError(f"not an operation of a store: {type(op).__name__}")


def _placed_condition(condition: MatchCondition, prefix: Namespace) -> list[MatchCondition]:
    if condition.match_type == "prefix":
        return [MatchCondition("prefix", (*prefix, *condition.path))]
    # Not among the labels that nobody sees: there are as many behind them.
    return [MatchCondition("prefix", (*prefix, *("*" for _ in condition.path))), condition]


def _page(op: Op, placed: Op, result: Result) -> Result:
    """Of what was found for `placed`, what `op` asked for."""
    if isinstance(op, SearchOp) and isinstance(placed, SearchOp) and isinstance(result, list):
        return result[op.offset - placed.offset :]
    return result


def _renewed(op: Op, result: Any) -> list[Place]:
    """Where the items are whose lifetimes begin anew because `op` read them."""
    if not isinstance(op, GetOp | SearchOp) or not op.refresh_ttl or not result:
        return []
    read = result if isinstance(result, list) else [result]
    return [(".".join(item.namespace), item.key) for item in read]


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
