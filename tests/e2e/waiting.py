"""Waiting for what another process brings about."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.02


def until(look: Callable[[], T], patience: float = 60.0) -> T:
    """Look again and again until there is something true; answers it. Fails when patience (seconds) is over."""
    end = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < end, f"waited {patience:g} s in vain"
        time.sleep(_PAUSE)
    return found


async def eventually(look: Callable[[], Awaitable[T]], patience: float = 60.0) -> T:
    """`until` for a coroutine function; other tasks go on meanwhile."""
    end = time.monotonic() + patience
    while not (found := await look()):
        assert time.monotonic() < end, f"waited {patience:g} s in vain"
        await asyncio.sleep(_PAUSE)
    return found
