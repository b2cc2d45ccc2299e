"""The types of settings, each with the bounds within which the server can use its value."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import SplitResult

from pydantic import AfterValidator, Field
from pydantic_settings import NoDecode

from amrikyy.urls import NOT_A_URL, encode_host, split_url

CommaList = Annotated[tuple[str, ...], NoDecode]

# --- Numbers; all of them finite, by the configuration of `Settings` ---

Port = Annotated[int, Field(ge=1, le=65_535)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
CountOrZero = Annotated[int, Field(ge=0, le=1_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]

MAX_WAIT_S = 7 * 86_400
"""A week: longer than any process of a server that is looked after lives."""

Seconds = Annotated[float, Field(ge=0, le=MAX_WAIT_S)]
Timeout = Annotated[float, Field(gt=0, le=MAX_WAIT_S)]
"""Seconds, too, but zero would leave no time at all."""

MAX_DAYS = 36_500
"""A century: whoever wants to keep something for ever gets it, and every date remains one that databases know."""

Days = Annotated[float, Field(gt=0, le=MAX_DAYS)]


# --- Addresses ---


def _base_url(url: str) -> str:
    if _parts(url).username is not None or re.search("[?#]", url):
        raise ValueError("paths are added to this URL, so write it without user, ? and #, like https://example.com/v1")
    return url


def _page_url(url: str) -> str:
    _parts(url)
    if "#" in url:
        raise ValueError("a token is added to this URL behind a #, so write it without one")
    return url


def _parts(url: str) -> SplitResult:
    if re.search(r"\s", url):  # the client would quote it, but here it is a slip
        raise ValueError(NOT_A_URL)
    return split_url(url)


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin != "*" and not _is_origin(origin):
            raise ValueError(f"{origin!r} is not an origin: write it like https://example.com")
    return origins


def _is_origin(text: str) -> bool:
    try:
        parts = _parts(text)
    except ValueError:
        return False
    return parts.username is None and f"{parts.scheme}://{parts.netloc}" == text


def _host(host: str) -> str:
    if not _is_address(host) and not _is_name(host):
        raise ValueError("write a host alone, like localhost, 10.0.0.5 or ::1, without scheme, port or path")
    return host


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_name(text: str) -> bool:
    try:
        return re.fullmatch(r"[^/?#@:%\[\]]+", encode_host(text)) is not None
    except ValueError:
        return False


BaseUrl = Annotated[str, AfterValidator(_base_url)]
"""An http or https URL to which paths are added."""

PageUrl = Annotated[str, AfterValidator(_page_url)]
"""An http or https URL of a page."""

Origins = Annotated[CommaList, AfterValidator(_origins)]
Host = Annotated[str, AfterValidator(_host)]
