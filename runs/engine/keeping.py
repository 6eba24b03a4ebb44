"""Makes what a `langgraph.json` says of the store: its index with the model that makes vectors, its lifetimes."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from langchain_core.embeddings import Embeddings
from langgraph.store.base import TTLConfig, ensure_embeddings

from runs.engine.loading import load_attribute, reason_of
from runs.engine.storage import Index, Keeping, NotEmbedded
from runs.langgraph_json import GraphConfig, GraphSpec, IndexSpec, StoreSpec

logger = logging.getLogger(__name__)


class _NoEmbeddings(Embeddings):
    """Of a model that can not be loaded: what needs it fails, and says why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def embed_documents(self, texts: list[str]) -> NoReturn:
        raise NotEmbedded(self._reason)

    def embed_query(self, text: str) -> NoReturn:
        raise NotEmbedded(self._reason)


def load_keeping(config: GraphConfig) -> Keeping:
    """As the config's `store` says. An index whose model does not load fails when it is used."""
    spec = config.store.index
    return Keeping(_index(spec, config.import_paths) if spec else None, _lifetimes(config.store))


def _index(spec: IndexSpec, import_paths: Sequence[Path]) -> Index:
    try:
        embeddings = _embeddings(spec.embed, import_paths)
    except (Exception, SystemExit) as exc:  # the code of others: anything may come out of it
        logger.exception("the index of the store failed to load")
        embeddings = _NoEmbeddings(reason_of(exc))
    return Index(embeddings, spec.dims, spec.fields)


def _embeddings(embed: GraphSpec | str, import_paths: Sequence[Path]) -> Embeddings:
    if isinstance(embed, str):
        return ensure_embeddings(embed)
    found = load_attribute(embed, import_paths)
    if not isinstance(found, Embeddings) and not callable(found):
        raise TypeError(f"{embed.attribute} is neither a function nor embeddings")
    return ensure_embeddings(found)


def _lifetimes(store: StoreSpec) -> TTLConfig:
    return {"default_ttl": store.default_ttl, "refresh_on_read": store.refresh_on_read}
