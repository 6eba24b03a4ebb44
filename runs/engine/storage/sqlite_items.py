"""The store's items in SQLite: LangGraph's tables and statements, with what they lack."""

import math
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import sqlite_vec  # type: ignore[import-untyped]
from langgraph.store.base import PutOp
from langgraph.store.sqlite import SqliteStore
from langgraph.store.sqlite.base import SqliteIndexConfig

from runs.engine.storage.database import Place
from runs.engine.storage.filters import Condition, sqlite_condition
from runs.engine.storage.index import KnownVectors
from runs.langgraph_json import IndexSpec

_MADE = "SELECT created_at FROM store WHERE prefix = ? AND key = ?"
_STAMP = """
UPDATE store SET created_at = coalesce(:made, :now), updated_at = :now, ttl_minutes = :ttl,
    expires_at = strftime('%Y-%m-%d %H:%M:%f', 'now', '+' || :ttl || ' minutes')
WHERE prefix = :prefix AND key = :key
"""
_EXPIRING = "SELECT 1 FROM store WHERE prefix = ? AND key = ? AND ttl_minutes IS NOT NULL"
_RENEW = """
UPDATE store SET expires_at = strftime('%Y-%m-%d %H:%M:%f', 'now', '+' || ttl_minutes || ' minutes')
WHERE prefix = ? AND key = ? AND ttl_minutes IS NOT NULL
"""


class Connection(sqlite3.Connection):
    """Knows distances of vectors where Python was built without SQLite's extensions, if more slowly."""

    if not hasattr(sqlite3.Connection, "load_extension"):

        def enable_load_extension(self, enabled: bool, /) -> None:
            """There are none."""

        def load_extension(self, name: str, /, **_: Any) -> None:
            """Of all extensions, LangGraph's store loads the one for vectors."""
            self.create_function("vec_distance_cosine", 2, _cosine_distance, deterministic=True)


def _cosine_distance(one: bytes, other: bytes) -> float | None:
    if len(one) != len(other):
        raise ValueError("vectors of different lengths")
    first, second = _floats(one), _floats(other)
    norm = math.hypot(*first) * math.hypot(*second)
    return 1.0 - sum(map(float.__mul__, first, second)) / norm if norm else None


def _floats(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"{len(vector) // 4}f", vector)


class SqliteItems(SqliteStore):
    """LangGraph's, in the transaction of whoever calls it.

    By itself it would forget when an item was made, and tell times by the second.
    """

    def __init__(self, connection: Connection, index: IndexSpec | None) -> None:
        super().__init__(connection, index=_config(index) if index else None)

    def use(self) -> None:
        """Instead of `setup`, where that was done before."""
        self.is_setup = True
        if self.index_config:
            self.conn.enable_load_extension(True)
            sqlite_vec.load(self.conn)
            self.conn.enable_load_extension(False)

    def expiring(self, places: Sequence[Place]) -> list[Place]:
        return [place for place in places if self.conn.execute(_EXPIRING, place).fetchone()]

    def renew(self, places: Sequence[Place]) -> None:
        self.conn.executemany(_RENEW, places)

    @contextmanager
    def _cursor(self, *, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        with closing(self.conn.cursor()) as cursor:
            yield cursor

    def _batch_put_ops(self, put_ops: Sequence[tuple[int, PutOp]], cur: sqlite3.Cursor) -> None:
        places = {(".".join(op.namespace), op.key): op.ttl for _, op in put_ops}
        made = {place: cur.execute(_MADE, place).fetchone() for place in places}
        super()._batch_put_ops([(number, op._replace(ttl=None)) for number, op in put_ops], cur)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        for (prefix, key), ttl in places.items():
            known = made[prefix, key]
            cur.execute(_STAMP, {"made": known and known[0], "now": now, "ttl": ttl, "prefix": prefix, "key": key})

    def _get_filter_condition(self, key: str, op: str, value: Any) -> Condition:
        return sqlite_condition(key, op, value)


def _config(index: IndexSpec) -> SqliteIndexConfig:
    # What every other store of LangGraph calls `fields`.
    fields = {"text_fields": [*index.fields]}
    return cast(SqliteIndexConfig, {"dims": index.dims, "embed": KnownVectors({}), **fields})
