"""Finding items by meaning: their texts become vectors before they are handed to whoever writes or reads them.

LangGraph's stores ask a model while their transaction is open; nobody could write until it has answered.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.embeddings import Embeddings
from langgraph.store.base import Op, PutOp, SearchOp, get_text_at_path, tokenize_path

Vectors = Mapping[str, list[float]]

#: Texts of one item; each is a row, and paid for.
_MAX_TEXTS = 500


class NotEmbedded(Exception):
    """The model of the index gave no vectors for a text."""


class TooManyTexts(ValueError):
    """The paths of an item's index lead to more texts than it may have."""

    def __init__(self) -> None:
        super().__init__(f"An item may have at most {_MAX_TEXTS} texts in the index.")


class KnownVectors(Embeddings):
    """Answers with vectors that were made before."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self._vectors[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._vectors[text]


class Index:
    """What is searched by meaning: the texts at `fields`, as vectors that `embeddings` makes."""

    def __init__(self, embeddings: Embeddings, dims: int, fields: Sequence[str]) -> None:
        self._embeddings = embeddings
        self._dims = dims
        self._paths = ["$" if field == "$" else tokenize_path(field) for field in fields]

    def vectors(self, ops: Iterable[Op]) -> Vectors:
        """Of all texts that `ops` write or look for. Raises NotEmbedded and TooManyTexts."""
        texts = self._texts(ops)
        try:
            return self._checked(texts, self._embeddings.embed_documents(texts) if texts else [])
        except NotEmbedded:
            raise
        except Exception as exc:  # the model's own code
            raise NotEmbedded(type(exc).__name__) from exc

    async def avectors(self, ops: Iterable[Op]) -> Vectors:
        texts = self._texts(ops)
        try:
            return self._checked(texts, await self._embeddings.aembed_documents(texts) if texts else [])
        except NotEmbedded:
            raise
        except Exception as exc:  # as above
            raise NotEmbedded(type(exc).__name__) from exc

    def _checked(self, texts: Sequence[str], made: Sequence[Sequence[float]]) -> Vectors:
        if len(made) != len(texts) or any(len(vector) != self._dims for vector in made):
            raise NotEmbedded(f"the model must make one vector of {self._dims} numbers for each text")
        return {text: [float(number) for number in vector] for text, vector in zip(texts, made, strict=True)}

    def _texts(self, ops: Iterable[Op]) -> list[str]:
        found: dict[str, None] = {}
        for op in ops:
            if isinstance(op, PutOp) and op.value is not None and op.index is not False:
                paths = self._paths if op.index is None else [tokenize_path(path) for path in op.index]
                found |= dict.fromkeys(_texts_of(op.value, paths))
            elif isinstance(op, SearchOp) and op.query:
                found[op.query] = None
        return list(found)


def _texts_of(value: Mapping[str, Any], paths: Sequence[str | list[str]]) -> list[str]:
    texts = [text for path in paths for text in get_text_at_path(value, path)]
    if len(texts) > _MAX_TEXTS:
        raise TooManyTexts
    return texts
