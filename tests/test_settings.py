"""Settings: read once, wrong ones named in a line, and documented."""

import errno
import os
import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from amrikyy.settings import ConfigurationError, Settings, in_production, misspelt

ROOT = Path(__file__).parents[1]
GUIDE = {
    "NODE_ENV",
    "PHASE2_PORT",
    "HOST",
    "GEMINI_API_KEY",
    "GEMINI_MODEL",
    "GEMINI_PRO_MODEL",
    "SUPABASE_URL",
    "SUPABASE_ANON_KEY",
    "SUPABASE_SERVICE_ROLE_KEY",
    "JWT_SECRET",
    "ENCRYPTION_KEY",
    "REDIS_URL",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_PASSWORD",
    "REDIS_DB",
    "RATE_LIMIT_WHITELIST",
    "VALID_API_KEYS",
    "LANGSMITH_API_KEY",
    "LANGSMITH_PROJECT",
    "METRICS_PUBLIC",
    "ALLOWED_ORIGINS",
    "DEBUG",
    "MAX_CONCURRENT_STREAMS",
}
SECRET = "s" * 40


SUPABASE = {"SUPABASE_URL": "https://x.supabase.co", "SUPABASE_ANON_KEY": "key"}
PRODUCTION = {"APP_ENV": "production", "JWT_SECRET": SECRET, "GEMINI_API_KEY": "key"}


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name in [*Settings.model_fields, "node_env", "port"]:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings.load(_env_file=None)


def test_every_variable_of_the_guide_exists_under_its_name() -> None:
    ours = {name.upper() for name in Settings.model_fields} | {"NODE_ENV"}
    assert ours >= GUIDE


def test_every_variable_is_in_the_readme_and_in_the_example() -> None:
    readme = (ROOT / "README.md").read_text()
    example = dotenv_values(ROOT / ".env.example")
    for name in Settings.model_fields:
        assert f"`{name.upper()}`" in readme, f"README.md does not list {name.upper()}"
        assert name.upper() in example, f".env.example does not list {name.upper()}"
    assert set(example) <= {name.upper() for name in Settings.model_fields}


def test_the_example_file_starts_a_server_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    settings = Settings.load(_env_file=ROOT / ".env.example")
    assert settings.check() == []
    assert (settings.phase2_port, settings.host, settings.jwt_secret) == (3001, None, None)


def test_an_empty_value_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, PHASE2_PORT="", JWT_SECRET="", MODEL_PRICES="")
    assert (settings.phase2_port, settings.jwt_secret, settings.model_prices) == (3001, None, {})


def test_an_empty_variable_leaves_what_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker Compose passes an empty variable for each one that is not set."""
    file = tmp_path / ".env"
    file.write_text(f"JWT_SECRET={SECRET}\nPHASE2_PORT=3002\nREDIS_URL=\nMODELS=offline\n")
    monkeypatch.setattr(os, "environ", {"JWT_SECRET": "", "PHASE2_PORT": "", "REDIS_URL": "redis://r", "MODELS": "x:y"})
    settings = Settings.load(_env_file=file)
    assert settings.jwt_secret is not None
    assert settings.jwt_secret.get_secret_value() == SECRET
    assert (settings.phase2_port, settings.redis, settings.models) == (3002, "redis://r", "x:y")


def test_node_env_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, NODE_ENV="production").production
    assert not load(monkeypatch, NODE_ENV="production", APP_ENV="development").production


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"PHASE2_PORT": "abc"}, r"^PHASE2_PORT: .*integer"),
        ({"PHASE2_PORT": "70000"}, r"^PHASE2_PORT: "),
        ({"APP_ENV": "prod"}, r"^APP_ENV: .*'production'"),
        ({"MODEL_PRICES": "{bad"}, r"^MODEL_PRICES is not JSON"),
        ({"MODEL_PRICES": '{"m": {"input": -1, "output": 1}}'}, r"^MODEL_PRICES \(m\.input\): "),
        ({"ENCRYPTION_KEY": "short"}, r"^ENCRYPTION_KEY: must be 64 hex digits or 32 characters"),
        ({"METRICS_PUBLIC": "perhaps"}, r"^METRICS_PUBLIC: "),
        ({"ALLOWED_ORIGINS": "https://a.example,http://b:abc"}, r"^ALLOWED_ORIGINS: 'http://b:abc' is not an origin"),
        ({"ALLOWED_ORIGINS": "https://a.example/"}, r"^ALLOWED_ORIGINS: .*write it like https://example\.com$"),
        ({"PASSWORD_RESET_URL": "https://a.example/reset#now"}, r"^PASSWORD_RESET_URL: .*without"),
        ({"HOST": "http://0.0.0.0"}, r"^HOST: write a host alone"),
        ({"HOST": "a..b"}, r"^HOST: write a host alone"),
        ({"REDIS_HOST": "redis://localhost"}, r"^REDIS_HOST: write a host alone"),
        ({"REDIS_HOST": "localhost/5"}, r"^REDIS_HOST: write a host alone"),
        ({"REDIS_HOST": "localhost:6380"}, r"^REDIS_HOST: .*without scheme, port or path"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], line: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(monkeypatch, **environment)
    assert re.search(line, str(caught.value)), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_BASE_URL",
        "GEMINI_BASE_URL",
        "OLLAMA_BASE_URL",
        "LANGSMITH_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "SUPABASE_URL",
        "PASSWORD_RESET_URL",
    ],
)
@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://localhost",
        "https://",
        "http://localhost:abc/v1",
        "http://localhost:99999/v1",
        "http://localhost:0/v1",
        "http://[::1",
        "http://[localhost]/v1",
        "http://api..example.com/v1",
        f"http://{'a' * 64}.example.com/v1",
        "http://local host/v1",
        "http://localhost/v1\n",
    ],
)
def test_a_url_to_which_nothing_can_connect_is_refused_with_one_that_shows_how(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(monkeypatch, **{name: url})
    assert re.fullmatch(rf"{name}: .*write it like https://example\.com/path .* 1 to 65535", str(caught.value))


@pytest.mark.parametrize(
    "url", ["https://u:hunter2@a.example", "https://a.example/v1?version=1", "https://a.example/#"]
)
def test_a_url_whose_parts_would_not_be_sent_or_found_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^OPENAI_BASE_URL: .*without user, \? and #") as caught:
        load(monkeypatch, OPENAI_BASE_URL=url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1]:8000/v1", "https://bücher.example", "HTTPS://a.example.:65535/v1/"])
def test_a_url_that_can_be_used_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert load(monkeypatch, OPENAI_BASE_URL=url).openai_base_url == url


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300", "99999999999999", "-1"])
def test_no_number_is_without_bounds(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    numbers = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float, float | None)]
    assert len(numbers) > 30
    for name in numbers:
        with pytest.raises(ConfigurationError, match=f"^{name.upper()}: input should be "):
            load(monkeypatch, **{name.upper(): value})


@pytest.mark.parametrize("price", ["Infinity", "NaN", "1e300"])
def test_no_price_is_without_bounds(monkeypatch: pytest.MonkeyPatch, price: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^MODEL_PRICES \(m\.output\): input should be "):
        load(monkeypatch, MODEL_PRICES=f'{{"m": {{"input": 1, "output": {price}}}}}')


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"JWT_SECRET": "short"}, "JWT_SECRET is shorter"),
        ({"APP_ENV": "production", "MODELS": "offline"}, "JWT_SECRET is not set"),
        ({"APP_ENV": "production", "JWT_SECRET": SECRET}, "No model is configured"),
        (
            {"APP_ENV": "production", "JWT_SECRET": SECRET, "MODELS": "offline", "ALLOWED_ORIGINS": "*"},
            "ALLOWED_ORIGINS",
        ),
        ({"WEB_CONCURRENCY": "2"}, "several worker processes need Redis"),
        ({"ADMIN_EMAIL": "a@example.com"}, "ADMIN_EMAIL is set without ADMIN_PASSWORD"),
        ({"SUPABASE_URL": "https://x.supabase.co"}, "SUPABASE_URL is set without SUPABASE_ANON_KEY"),
        (SUPABASE | {"SUPABASE_JWT_SECRET": "short"}, "SUPABASE_JWT_SECRET is shorter"),
        (PRODUCTION | SUPABASE | {"SUPABASE_URL": "http://kong:8000"}, "production sends passwords over https"),
    ],
)
def test_what_must_not_start_does_not(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], line: str) -> None:
    settings = load(monkeypatch, **environment)
    with pytest.raises(ConfigurationError, match=line):
        settings.check()


def test_production_starts_with_a_secret_and_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, APP_ENV="production", JWT_SECRET=SECRET, GEMINI_API_KEY="key")
    assert settings.check() == []
    assert settings.bind_host == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "reached_at"),
    [
        ("0.0.0.0", "http://127.0.0.1:3001"),
        ("::", "http://[::1]:3001"),
        ("127.0.0.2", "http://127.0.0.2:3001"),
        ("::1", "http://[::1]:3001"),
        ("localhost", "http://localhost:3001"),
        ("", "http://127.0.0.1:3001"),
    ],
)
def test_this_machine_reaches_the_server_at_the_address_it_listens_on(
    monkeypatch: pytest.MonkeyPatch, host: str, reached_at: str
) -> None:
    assert load(monkeypatch, HOST=host).local_url == reached_at


@pytest.mark.parametrize("url", ["https://x.supabase.co/", "http://127.0.0.1:54321", "http://localhost:54321"])
def test_production_speaks_with_supabase_safely_or_on_this_machine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert load(monkeypatch, **PRODUCTION | SUPABASE | {"SUPABASE_URL": url}).check() == []


def test_half_of_supabase_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings = load(monkeypatch, SUPABASE_ANON_KEY="key", SUPABASE_SERVICE_ROLE_KEY="key").check()
    assert [warning.partition(" ")[0] for warning in warnings] == ["SUPABASE_ANON_KEY", "SUPABASE_SERVICE_ROLE_KEY"]
    admin = {"ADMIN_EMAIL": "a@example.com", "ADMIN_PASSWORD": "p"}
    assert "ADMIN_EMAIL has no effect" in load(monkeypatch, **SUPABASE, **admin).check()[0]


def test_redis_url_wins_over_its_companions_which_need_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, REDIS_PORT="6380", REDIS_PASSWORD="p").redis is None
    assert load(monkeypatch, REDIS_HOST="h", REDIS_PASSWORD="p/w", REDIS_DB="2").redis == "redis://:p%2Fw@h:6379/2"
    assert load(monkeypatch, REDIS_HOST="::1").redis == "redis://[::1]:6379/0"
    assert load(monkeypatch, REDIS_URL="redis://u", REDIS_HOST="h").redis == "redis://u"


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, JWT_SECRET=SECRET, GEMINI_API_KEY="gemini-secret", VALID_API_KEYS="api_secret")
    for secret in (SECRET, "gemini-secret", "api_secret"):
        assert secret not in repr(settings)


def test_a_key_that_might_be_guessed_is_pointed_out_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = load(monkeypatch, VALID_API_KEYS=f"{SECRET}:admin,key2:premium").check()
    assert note.startswith("VALID_API_KEYS: the key of entry 2 has less than 16 characters")
    assert "key2" not in note


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"PHASE2_PORT=3002\nJWT_SECRET hunter2\n", ".env, line 2: write it like NAME=value."),
        (b"HOST=::1\n# Jos\xe9\n", ".env, line 2: not in UTF-8. Save the file as UTF-8."),
    ],
)
def test_a_line_of_the_file_that_says_nothing_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_bytes(text)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert str(caught.value) == line


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("PHASE2_PORT=3002\n")
    monkeypatch.setattr(Path, "read_text", refuse)  # root, as which the tests may run, may read everything
    monkeypatch.setenv("APP_ENV", "production")
    with pytest.raises(ConfigurationError, match=r"^\.env cannot be read: Permission denied\.$"):
        Settings.load()
    assert in_production()


@pytest.mark.parametrize(
    ("file", "environment", "production"),
    [
        ("", {}, False),
        ("", {"APP_ENV": "Production "}, True),
        ("", {"NODE_ENV": "production"}, True),
        ("APP_ENV=production", {}, True),
        ("APP_ENV=production", {"APP_ENV": ""}, True),
        ("APP_ENV=production", {"APP_ENV": "test"}, False),
        ("NODE_ENV=production", {"APP_ENV": "development"}, False),
        ("APP_ENV=development", {"NODE_ENV": "production"}, True),
        ("APP_ENV=\nNODE_ENV=production", {"NODE_ENV": ""}, True),
    ],
)
def test_production_is_known_as_such_whatever_else_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, environment: dict[str, str], *, production: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", environment)
    Path(".env").write_text(file)
    assert Settings.load().production == in_production() == production
    Path(".env").write_bytes(file.encode() + b"\nJWT_SECRET hunter2 \xe9\nPHASE2_PORT=x\n")
    assert in_production() == production


def test_a_variable_that_is_called_nearly_as_a_setting_is_pointed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("JWT_SECRT=x\nPOSTGRES_PASSWORD=x\nAGENT=\nlog_level=info\n")
    environment = {"DATABASE_URI": "postgresql://u:hunter2@db/x", "REDIS_PORT_6379_TCP": "tcp://10.0.0.7:6379"}
    monkeypatch.setattr(os, "environ", environment)  # whatever else is set here
    assert misspelt() == [
        "DATABASE_URI is set, and is no setting of this server. Is DATABASE_URL meant?",
        "JWT_SECRT is set, and is no setting of this server. Is JWT_SECRET meant?",
    ]


def test_whoever_sets_port_is_told_that_it_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, PORT="8080").check() == [
        "PORT is not read: this server listens on PHASE2_PORT, which is 3001."
    ]
    assert load(monkeypatch, PORT="8080", PHASE2_PORT="8080").check() == []
    assert load(monkeypatch, PORT="3001").check() == []
    assert load(monkeypatch, PORT="tcp://10.0.0.7:80").check() == [], "what Kubernetes names after a service"
    option = load(monkeypatch, PORT="8080").model_copy(update={"phase2_port": 8080})
    assert option.check() == [], "given with --port"
