"""A graph that cannot be imported."""

from package_that_nobody_has import graph  # type: ignore[import-not-found]

__all__ = ["graph"]
