"""Field types that requests of several routes share, with their validation: names, passwords and times."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr
from pydantic_core import PydanticCustomError

from amrikyy.auth.fields import check_email, check_name
from amrikyy.auth.passwords import check_password
from amrikyy.errors import ValidationFailed

T = TypeVar("T")


def _checked(check: Callable[[T], Any]) -> AfterValidator:
    """Turn a check of `auth` into a validator, so that its refusals are reported with the body's other wrong fields."""

    def validate(value: T) -> T:
        try:
            check(value)
        except ValidationFailed as error:
            wrong = error.details[0]
            raise PydanticCustomError(wrong["type"], "{reason}", {"reason": wrong["message"]}) from None
        return value

    return AfterValidator(validate)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("out_of_range", "Not within the years 1 to 9999 in UTC") from None


Email = Annotated[str, Field(min_length=3, max_length=254), _checked(check_email)]
DisplayName = Annotated[str, Field(min_length=1, max_length=200), _checked(check_name)]
NewPassword = Annotated[
    SecretStr,
    Field(min_length=1, max_length=256, description="At least 10 characters."),
    _checked(lambda secret: check_password(secret.get_secret_value())),
]

Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time with a zone, converted to UTC."""

Exactly = Annotated[str, Field(max_length=254, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A value to search for literally; no stored value contains a control character."""
