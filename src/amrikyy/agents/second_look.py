"""A second look into the cache, for the result of a request that says the same in other words."""

import re
import types
from hashlib import sha256
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec

from amrikyy.agents.agent import Operation
from amrikyy.cache import Cache, Entry
from amrikyy.cache.similar import Meaning, SimilarRequests, words_of
from amrikyy.llm.embeddings import Embedder
from amrikyy.llm.request import Usage

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


class Look(NamedTuple):
    """What was looked for, and found.

    Attributes:
        bucket: all that must be equal: the owner, the operation, every field that is not text, all numbers in texts.
        meaning: the texts.
        entry: the result of the most similar request; None if there is none.
        usage: what the embedding used.
    """

    bucket: str
    meaning: Meaning
    entry: Entry | None = None
    usage: Usage | None = None


class SecondLook:
    """Finds and remembers requests by their meaning, in this process.

    Args:
        threshold: CACHE_SIMILARITY: how alike two requests must be.
        embedder: EMBEDDINGS_MODEL; without one, the words are compared.
    """

    def __init__(self, threshold: float, embedder: Embedder | None) -> None:
        self._requests = SimilarRequests(threshold)
        self._embedder = embedder
        self._texts: dict[str, tuple[str, ...]] = {}

    async def look(self, operation: Operation[Any, Any], key: str, request: bytes, kept: Cache) -> Look | None:
        """Look for a fresh result of a similar request, given as JSON; None if it has no text to compare."""
        values: dict[str, Any] = _decode(request)
        texts = {
            name: value
            for name in self._texts_of(operation)
            if isinstance(value := values.get(name), str) and " " in value.strip()
        }
        if not texts:
            return None
        others = {name: value for name, value in values.items() if name not in texts}
        numbers = {name: sorted(re.findall(r"\d+", text)) for name, text in texts.items()}
        whose = key.rpartition(":")[0]
        bucket = f"{whose}:{sha256(_encode([others, numbers])).hexdigest()[:32]}"
        meaning: Meaning = [words_of(text) for _, text in sorted(texts.items())]
        usage = None
        if self._embedder is not None:
            embedded = await self._embedder.embed("\n".join(f"{name}: {text}" for name, text in sorted(texts.items())))
            if embedded is None:
                return None
            meaning, usage = embedded
        for alike in self._requests.find(bucket, meaning):
            entry = await kept.get(alike)
            if entry is not None and entry.is_fresh:
                return Look(bucket, meaning, entry, usage)
            self._requests.forget(bucket, alike)
        return Look(bucket, meaning, None, usage)

    def keep(self, look: Look, key: str) -> None:
        """Remember that what was looked for now has a result."""
        self._requests.keep(look.bucket, look.meaning, key)

    def _texts_of(self, operation: Operation[Any, Any]) -> tuple[str, ...]:
        """The JSON names of the fields that hold free text; not those with a fixed choice of words."""
        found = self._texts.get(operation.key)
        if found is None:
            fields = operation.request_type.model_fields.items()
            found = tuple(sorted(field.alias or name for name, field in fields if _is_text(field.annotation)))
            self._texts[operation.key] = found
        return found

    async def close(self) -> None:
        """Close the embedder's connections."""
        if self._embedder is not None:
            await self._embedder.close()


def _is_text(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_text(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return any(_is_text(each) for each in get_args(annotation) if each is not type(None))
    return annotation is str
