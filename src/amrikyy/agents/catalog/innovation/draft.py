"""The base of what a model is asked for, and the types of value that drafts consist of."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from amrikyy.agents.agent import Result


class Draft(Result):
    """Base of every draft: white space around a text is no content, so it counts for no minimum length."""

    model_config = ConfigDict(str_strip_whitespace=True)


def _round(value: Any) -> Any:
    # Models that are told 0 to 100 still answer 72.5 from time to time.
    return round(value) if isinstance(value, float) and math.isfinite(value) else value


def clamp(value: int) -> int:
    """The value, limited to 0 to 100."""
    return max(0, min(100, value))


def weighted(scores: Mapping[str, int], weights: Mapping[str, float]) -> int:
    """The weighted mean of scores from 0 to 100; a score without a weight does not count."""
    return clamp(round(sum(scores[name] * weight for name, weight in weights.items()) / sum(weights.values())))


Score = Annotated[
    int,
    BeforeValidator(_round),
    AfterValidator(clamp),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 100}),
]
"""0 to 100. A value out of range becomes the end of the scale: it is not a mistake worth a second call."""

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=400)]
"""One entry of a list, a sentence at most."""

Name = Annotated[str, Field(min_length=2, max_length=160)]
Prose = Annotated[str, Field(min_length=10, max_length=1500)]
