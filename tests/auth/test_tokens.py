"""Access tokens."""

import time
from typing import Any

import jwt
import pytest

from amrikyy.auth import Tokens
from amrikyy.errors import Unauthenticated
from tests.auth.conftest import SECRET

NOW = int(time.time())
GOOD = {"iss": "amrikyy", "aud": "amrikyy-api", "sub": "u", "sid": "s", "iat": NOW, "exp": NOW + 3600}


def refusal(token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        Tokens(SECRET).verify(token)
    return caught.value.code


def test_a_token_says_whose_it_is_and_of_which_session() -> None:
    claims = Tokens(SECRET, 900).verify(Tokens(SECRET, 900).issue("u1", "s1"))
    assert (claims.user_id, claims.session) == ("u1", "s1")
    assert claims.expires_at - claims.issued_at == pytest.approx(900, abs=1)


def test_an_expired_token_is_told_apart_so_that_a_client_knows_to_refresh() -> None:
    assert refusal(Tokens(SECRET, access_ttl_s=-60).issue("u", "s")) == "token_expired"


@pytest.mark.parametrize(
    "change",
    [{"iss": "other"}, {"aud": "other"}, {"exp": None}, {"sub": None}, {"iat": None}, {"sid": None},
     {"iat": NOW + 600, "exp": NOW + 900}],
)  # fmt: skip
def test_a_token_of_another_issuer_or_audience_or_without_a_claim_is_refused(change: dict[str, Any]) -> None:
    payload = {name: value for name, value in (GOOD | change).items() if value is not None}
    assert refusal(jwt.encode(payload, SECRET, "HS256")) == "invalid_token"


def test_a_token_signed_with_another_key_or_algorithm_or_not_at_all_is_refused() -> None:
    assert refusal(jwt.encode(GOOD, "t" * 40, "HS256")) == "invalid_token"
    assert refusal(jwt.encode(GOOD, "s" * 64, "HS512")) == "invalid_token"
    no_key: Any = None
    assert refusal(jwt.encode(GOOD, no_key, "none")) == "invalid_token"
    assert refusal("not.a.token") == "invalid_token"
    assert refusal("") == "invalid_token"


def test_a_short_secret_is_refused_by_the_variables_name() -> None:
    with pytest.raises(ValueError, match="JWT_SECRET"):
        Tokens("short")


def test_a_token_is_not_issued_before_the_time_from_which_the_users_tokens_count() -> None:
    ahead = time.time() + 2  # of a replica whose clock is ahead
    assert Tokens(SECRET).verify(Tokens(SECRET).issue("u", "s", not_before=ahead)).issued_at == ahead
