"""The store's items in PostgreSQL: LangGraph's tables and statements, with what they lack."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from langgraph.store.base import PutOp
from langgraph.store.postgres import PostgresStore
from psycopg import Cursor
from psycopg.rows import DictRow, TupleRow, dict_row

from runs.engine.storage.database import NoVectors, Place
from runs.engine.storage.filters import Condition, postgres_condition
from runs.engine.storage.index import KnownVectors
from runs.langgraph_json import IndexSpec

#: Of LangGraph's steps for vectors those that are gone here. The last one makes an index that its searches do not use.
VECTOR_STEPS = [step for step in PostgresStore.VECTOR_MIGRATIONS if step.condition is None]

_FORGET = """
DELETE FROM store_vectors USING unnest(%s::text[], %s::text[]) AS put (prefix, key)
WHERE (store_vectors.prefix, store_vectors.key) = (put.prefix, put.key)
"""
_EXPIRING = """
SELECT prefix, key FROM store JOIN unnest(%s::text[], %s::text[]) AS seen (prefix, key) USING (prefix, key)
WHERE ttl_minutes IS NOT NULL
"""
_RENEW = """
UPDATE store SET expires_at = NOW() + make_interval(mins => ttl_minutes)
FROM unnest(%s::text[], %s::text[]) AS seen (prefix, key)
WHERE (store.prefix, store.key) = (seen.prefix, seen.key) AND ttl_minutes IS NOT NULL
"""
_DIMS = "SELECT atttypmod FROM pg_attribute WHERE attrelid = 'store_vectors'::regclass AND attname = 'embedding'"


class PostgresItems(PostgresStore):
    """LangGraph's, in the transaction of whoever calls it.

    By itself it would keep the vectors of texts that an item does not have any more.
    """

    conn: "psycopg.Connection[TupleRow]"  # type: ignore[assignment]  # it makes its own cursors

    def __init__(self, connection: "psycopg.Connection[TupleRow]", index: IndexSpec | None) -> None:
        super().__init__(
            connection,  # type: ignore[arg-type]  # as well
            index={
                "dims": index.dims,
                "embed": KnownVectors({}),
                "fields": [*index.fields],
                "ann_index_config": {"kind": "flat"},
            }
            if index
            else None,
        )

    def make(self) -> None:
        """Make the tables. Raises NoVectors."""
        try:
            self.setup()
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as exc:
            raise NoVectors("the server of the database does not have the extension pgvector.") from exc
        except psycopg.errors.InsufficientPrivilege as exc:
            raise NoVectors("its user may not: a superuser has to, by CREATE EXTENSION vector.") from exc
        self.check()

    def check(self) -> None:
        """Raises NoVectors when the table of vectors was made for others."""
        if not self.index_config:
            return
        row = self.conn.execute(_DIMS).fetchone()
        if row and row[0] != self.index_config["dims"]:
            wanted = self.index_config["dims"]
            raise NoVectors(f"store_vectors has vectors of {row[0]} numbers, not of {wanted}.")

    def expiring(self, places: Sequence[Place]) -> list[Place]:
        return [(prefix, key) for prefix, key in self.conn.execute(_EXPIRING, _columns(places)).fetchall()]

    def renew(self, places: Sequence[Place]) -> None:
        self.conn.execute(_RENEW, _columns(places))

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator["Cursor[DictRow]"]:
        # A pipeline within the caller's would wait for the answers so far, twice.
        with self.conn.cursor(binary=True, row_factory=dict_row) as cursor:
            yield cursor

    def _batch_put_ops(self, put_ops: Sequence[tuple[int, PutOp]], cur: "Cursor[DictRow]") -> None:
        if self.index_config:
            cur.execute(_FORGET, _columns([(".".join(op.namespace), op.key) for _, op in put_ops]))
        super()._batch_put_ops(put_ops, cur)

    def _get_filter_condition(self, key: str, op: str, value: Any) -> Condition:
        return postgres_condition(key, op, value)


def _columns(places: Sequence[Place]) -> list[list[str]]:
    return [[prefix for prefix, _ in places], [key for _, key in places]]
