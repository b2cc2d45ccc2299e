"""What every catalog agent promises of its models: drafts fit results, all is documented, unfinished is readable."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from amrikyy.runs.events import Delta
from amrikyy.runs.partial import Fold


def assert_fits(draft: type[BaseModel], result: type[BaseModel]) -> None:
    """A partial state of the draft is one of the result: the same fields at the same places."""
    for name, field in draft.model_fields.items():
        assert name in result.model_fields, f"{result.__name__} has no {name}"
        inner, outer = _model_within(field.annotation), _model_within(result.model_fields[name].annotation)
        assert (inner is None) == (outer is None)
        if inner and outer:
            assert_fits(inner, outer)


def assert_documented(models: Iterable[type[BaseModel]]) -> None:
    """Every model has a docstring and every field a description, all the way down."""
    waiting, seen = list(models), set[type[BaseModel]]()
    while waiting:
        model = waiting.pop()
        if model in seen:
            continue
        seen.add(model)
        assert model.__doc__, model.__name__
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            if inner := _model_within(field.annotation):
                waiting.append(inner)


def assert_readable_unfinished(draft: type[BaseModel], sample: BaseModel) -> None:
    """The sample's JSON, cut anywhere, folds into an object that grows into the whole."""
    text = sample.model_dump_json(by_alias=True)
    fold, sizes = Fold(draft), []
    step = max(1, len(text) // 20)
    for start in range(0, len(text), step):
        fold.feed(Delta(text[start : start + step]))
        sizes.append(len(fold.encoded()))
    assert json.loads(fold.encoded()) == json.loads(sample.model_dump_json(by_alias=True, exclude_none=True))
    assert sizes[len(sizes) // 2] > sizes[0]


def _model_within(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_within(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in found if model), None)
