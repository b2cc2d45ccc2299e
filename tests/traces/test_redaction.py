"""What must not rest anywhere is taken out, wherever it stands; what is harmless stays; and no text takes long."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amrikyy.traces.redaction import MAX_TEXT, Redactor

redact = Redactor()

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbmEifQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
SECRETS = {
    "ana.maria+trips@example.co.uk": "[email]",
    "müller@bücher.example": "[email]",
    "4111 1111 1111 1111": "[card]",
    "5500-0000-0000-0004": "[card]",
    "378282246310005": "[card]",
    "6011000990139424": "[card]",
    "+49 30 901820": "[phone]",
    "+1 (202) 555-0123": "[phone]",
    "0049 89 1234567": "[phone]",
    "(202) 555-0123": "[phone]",
    "202-555-0123": "[phone]",
    "030 1234567": "[phone]",
    "020 7946 0958": "[phone]",
    "sk-proj-abcdefghijklmnop1234": "[key]",
    "api_" + "1" * 32: "[key]",
    "ghp_" + "a1B2" * 9: "[key]",
    "AKIAIOSFODNN7EXAMPLE": "[key]",
    "AIza" + "Sy0" * 12: "[key]",
    "lsv2_pt_0123456789abcdef": "[key]",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08": "[key]",
    JWT: "[key]",
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "Write to {}, please.", '{{"to": "{}"}}', "({})", "a={}&b=2", "<{}>",
                                    r"In JSON:\n{}\tand on", r"\u00e9\r\n{}"])  # fmt: skip
def test_it_is_found_wherever_it_stands(secret: str, around: str) -> None:
    said = redact(around.format(secret))
    assert SECRETS[secret] in said
    assert secret not in said
    assert said.startswith(around.partition("{}")[0].replace("{{", "{"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password: hunter2x, then", "password: [key], then"),
        ('{"apiKey": "a1b2c3d4"}', '{"apiKey": "[key]"}'),
        ("Authorization: Bearer abc123def", "Authorization: Bearer [key]"),
        ("my secret is s3cret99", "my secret is [key]"),
        ("order 12345 4111111111111111 9", "order 12345 [card] 9"),
        (r'{"text": "so:\npassword: hunter2x\nnext"}', r'{"text": "so:\npassword: [key]\nnext"}'),
        (r'"{\"token\": \"a1b2c3d4\"}"', r'"{\"token\": \"[key]\"}"'),
        ("OPENAI_API_KEY=abcd1234efgh", "OPENAI_API_KEY=[key]"),
        ("clientSecret: s3cr3tvalue", "clientSecret: [key]"),
        ("https://h.example/x?access_token=abc123def", "https://h.example/x?access_token=[key]"),
        ("https://h.example/x?a=1&key=abc123def", "https://h.example/x?a=1&key=[key]"),
        ("postgres://app:pa55@word@db/x", "postgres://app:[key]@db/x"),
        ("Basic dXNlcjpwYXNzMQ==", "Basic [key]"),
    ],
)
def test_what_is_called_a_secret_is_one(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A trip from 2026-11-29 to 2026-12-06 for 3 people and $2,500.00, 10:30-12:45.",
        "Flight BA 178 leaves at 08:05; run_019a2b3c4d5e6f70 took 1500 ms.",
        "1234567890123456 is no card, and 17 000 000 people live there.",
        "Secrets of the old town: tokens of love, a password to happiness.",
        "Meet @ noon. The price is 1 200 300 for 2 rooms.",
        "night-trains-in-2026-across-the-alps-with-a-view-of-the-lake",
        "Chapter 12 of 20, pages 100-250, ISBN-like 978 and a ratio of 3.14159265358979.",
    ],
)
def test_what_is_harmless_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "piece",
    ["a", "1", "1 ", "a.", "a@", "@a.", "eyJ", "eyJ.", "-----BEGIN PRIVATE KEY-----", "+1 ", "(2", "0 ", "password ",
     "token: ", "sk-", "a1", "-", " ", "\\", "Bearer ", r"\n", "://", "://a:@", "aToken", "?key=", 'token\\"'],
)  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    began = time.process_time()
    redact(text)
    assert time.process_time() - began < 5  # ten times what the slowest takes; a pattern that blows up takes minutes


@given(st.text(alphabet="a1@.-+ eyJ:=\"'(){}[]4", max_size=300))
def test_to_redact_again_changes_nothing_that_matters(text: str) -> None:
    once = redact(text)
    assert len(redact(once)) <= len(once) + 8 * once.count("[")


def test_patterns_of_the_operator_are_taken_out_too_however_they_are_written() -> None:
    own = Redactor([r"EMP-\d{6}", r"(x+x+)+y"])
    assert own("EMP-123456 asked") == "[redacted] asked"
    began = time.process_time()
    own("x" * 100_000)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("pattern", ["(", "a*", r"(?<=a)b"])
def test_a_pattern_that_cannot_be_used_is_refused_with_a_word(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"RE2|empty text"):
        Redactor([pattern])


def test_a_long_text_is_cut_and_no_half_of_a_secret_is_left_at_the_cut() -> None:
    whole = redact.whole("x " * (MAX_TEXT // 2 - 3) + "4111 1111 1111 1111 " + "y" * 50)
    assert "4111" not in whole
    assert whole.endswith(f"… [{MAX_TEXT - 6 + 20 + 50} characters]")
