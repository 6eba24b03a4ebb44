"""How a failure is told to its run's readers, whatever graph code raised."""

import pytest

from runs.engine.execution import describe


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no"), {"error": "ValueError", "message": "no"}),
        (ValueError("a\0b"), {"error": "ValueError", "message": "a\ufffdb"}),
        (ValueError("a\ud800b"), {"error": "ValueError", "message": "a\ufffdb"}),
        (ValueError("x" * 5000), {"error": "ValueError", "message": "x" * 2000}),
        (Speechless(), {"error": "Speechless", "message": ""}),
    ],
    ids=["plain", "NUL", "lone surrogate", "long", "speechless"],
)
def test_an_error_is_told_as_every_database_can_keep_it(error: Exception, told: dict[str, str]) -> None:
    assert describe(error) == told
