"""Every setting, read once from the environment and `.env`, checked, and passed in as a value."""

import ipaddress
import json
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from amrikyy import env_file
from amrikyy.sealing import Sealer, key_bytes
from amrikyy.setting_types import (
    BaseUrl,
    CommaList,
    Count,
    CountOrZero,
    Days,
    Host,
    Origins,
    PageUrl,
    Port,
    Seconds,
    Share,
    Timeout,
)
from amrikyy.urls import bracketed

Environment = Literal["development", "production", "test"]
LogLevel = Literal["debug", "info", "warning", "error"]
ENV_FILE = ".env"

MIN_JWT_SECRET = 32
"""Characters; HS256 needs a key at least as long as its hash, 256 bits (RFC 7518 §3.2)."""

MIN_API_KEY = 16
"""Characters: 64 bits, if they are hex digits, which nobody finds at 100 attempts a minute."""


class ConfigurationError(Exception):
    """The settings are wrong; the message is one line for each, naming the variable."""


def reveal(secret: SecretStr | None) -> str | None:
    """The text of a secret, for those who send or check it."""
    return secret.get_secret_value() if secret else None


class ModelPrice(BaseModel):
    """Dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input: float = Field(ge=0, le=1_000_000)
    output: float = Field(ge=0, le=1_000_000)


class Settings(BaseSettings):
    """The configuration of one process. Each field is the environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
    )

    # Server
    app_env: Environment = Field("development", validation_alias=AliasChoices("APP_ENV", "NODE_ENV"))
    phase2_port: Port = 3001
    host: Host | None = None
    web_concurrency: int = Field(1, ge=1, le=256)
    data_dir: Path = Path("data")
    debug: str | None = None
    trusted_proxies: CommaList = ()
    allowed_origins: Origins = ()
    drain_timeout_s: float = Field(30, ge=0, le=3600)
    https_proxy: SecretStr | None = None
    no_proxy: str | None = None

    # Database and Redis
    database_url: str | None = None
    redis_url: SecretStr | None = None
    redis_host: Host | None = None
    redis_port: Port = 6379
    redis_password: SecretStr | None = None
    redis_db: CountOrZero = 0
    redis_prefix: str = Field("amrikyy", min_length=1, max_length=64, pattern=r"^[\w:.-]+$")
    redis_timeout_ms: int = Field(50, ge=5, le=10_000)

    # Identity
    jwt_secret: SecretStr | None = None
    encryption_key: SecretStr | None = None
    encryption_key_fallbacks: SecretStr | None = None
    valid_api_keys: SecretStr | None = None
    admin_email: str | None = None
    admin_password: SecretStr | None = None
    access_token_ttl_s: int = Field(900, ge=30, le=86_400)
    refresh_token_ttl_s: int = Field(30 * 86_400, ge=300, le=3650 * 86_400)
    password_reset_url: PageUrl | None = None
    audit_retention_days: Days = 365
    supabase_url: BaseUrl | None = None
    supabase_anon_key: SecretStr | None = None
    supabase_service_role_key: SecretStr | None = None
    supabase_jwt_secret: SecretStr | None = None

    # Models
    gemini_api_key: SecretStr | None = None
    gemini_model: str = "gemini-2.0-flash-exp"
    gemini_pro_model: str = "gemini-2.5-pro"
    gemini_base_url: BaseUrl = "https://generativelanguage.googleapis.com"
    openai_api_key: SecretStr | None = None
    openai_base_url: BaseUrl = "https://api.openai.com/v1"
    ollama_base_url: BaseUrl = "http://localhost:11434/v1"
    models: str | None = None
    model_prices: dict[str, ModelPrice] = Field(default_factory=dict)
    model_connect_timeout_s: Timeout = 5
    model_first_token_timeout_s: Timeout = 60
    model_token_timeout_s: Timeout = 30
    model_timeout_s: Timeout = 300
    model_attempts: int = Field(3, ge=1, le=10)
    offline_tokens_per_s: float = Field(50, ge=0, le=1_000_000)

    # Agents
    agents: CommaList = ()
    home_airport: str = Field("JFK", pattern=r"^[A-Z]{3}$")

    # Streams and runs
    stream_resume_s: Seconds = 300
    stream_grace_s: Seconds = 10
    run_timeout_s: Timeout = 600
    run_retention_days: Days = 30
    durable_replies: bool = False

    # Cache
    cache_max_mb: Count = 64
    cache_similarity: float | None = Field(None, gt=0, le=1)
    embeddings_model: str | None = None

    # Limits
    rate_limits: dict[str, str] = Field(default_factory=dict)
    rate_limit_whitelist: CommaList = ()
    max_concurrent_streams: Count = 1000
    max_queued_streams: CountOrZero = 1000

    # Workflows
    max_concurrent_workflows: Count = 50
    max_workflows_per_caller: Count = 10
    max_queued_workflows: CountOrZero = 1000

    # Seeing it
    metrics_public: bool = False
    langsmith_api_key: SecretStr | None = None
    langsmith_project: str = "amrikyy-agent"
    langsmith_endpoint: BaseUrl = "https://api.smith.langchain.com"
    otel_service_name: str = Field("amrikyy-agent", min_length=1, max_length=200)
    otel_traces_sampler_arg: Share = 1
    otel_exporter_otlp_endpoint: BaseUrl | None = None
    otel_exporter_otlp_headers: SecretStr | None = None
    otel_exporter_otlp_timeout: int = Field(10_000, ge=1, le=600_000)
    otel_instrumentation_genai_capture_message_content: bool = False
    traces_per_second: Count = 50
    trace_max: int = Field(20_000, ge=1, le=1_000_000_000)
    trace_retention_days: Days = 7
    redact_patterns: list[str] = Field(default_factory=list)
    log_level: LogLevel = "info"

    @field_validator("trusted_proxies", "allowed_origins", "agents", "rate_limit_whitelist", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("app_env", "log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("encryption_key")
    @classmethod
    def _is_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            key_bytes(value.get_secret_value())
        return value

    @field_validator("encryption_key_fallbacks")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            _keys(value)
        except ValueError as error:
            raise ValueError(f"each key {error} (write a key that contains a comma as hex digits)") from None
        return value

    @property
    def production(self) -> bool:
        """Whether this is the real thing: secrets must be given, and errors say nothing about our insides."""
        return self.app_env == "production"

    @property
    def bind_host(self) -> str:
        """The address to listen on: this machine only in development, unless HOST says otherwise."""
        return self.host or ("0.0.0.0" if self.production else "127.0.0.1")  # noqa: S104 - a container must be reachable

    @property
    def url(self) -> str:
        """The URL of the address to listen on."""
        return f"http://{bracketed(self.bind_host)}:{self.phase2_port}"

    @property
    def local_url(self) -> str:
        """The URL at which this machine reaches the server: an address that stands for all of its own is none."""
        try:
            address = ipaddress.ip_address(self.bind_host)
        except ValueError:  # it is a name
            return self.url
        if not address.is_unspecified:
            return self.url
        return f"http://{'127.0.0.1' if address.version == 4 else '[::1]'}:{self.phase2_port}"

    @property
    def least_logged(self) -> LogLevel:
        """The least that the log takes: LOG_LEVEL, or everything with DEBUG."""
        return "debug" if self.debug is not None else self.log_level

    def sealer(self) -> Sealer:
        """What encrypts content at rest, and reads it again."""
        key = key_bytes(self.encryption_key.get_secret_value()) if self.encryption_key else None
        return Sealer(key, _keys(self.encryption_key_fallbacks))

    @cached_property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'amrikyy.db'}"

    @cached_property
    def redis(self) -> str | None:
        """Redis' URL from REDIS_URL, else from REDIS_HOST and its companions; None when neither is set."""
        if self.redis_url:
            return self.redis_url.get_secret_value()
        if not self.redis_host:
            return None
        password = f":{quote(self.redis_password.get_secret_value(), safe='')}@" if self.redis_password else ""
        return f"redis://{password}{bracketed(self.redis_host)}:{self.redis_port}/{self.redis_db}"

    @property
    def otlp_headers(self) -> dict[str, str]:
        """The headers of OTEL_EXPORTER_OTLP_HEADERS, which are written as in W3C Baggage: `name=value,name=value`.

        Raises:
            ValueError: they are not; the message shows none of them.
        """
        text = self.otel_exporter_otlp_headers.get_secret_value() if self.otel_exporter_otlp_headers else ""
        headers: dict[str, str] = {}
        for pair in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = pair.partition("=")
            value = unquote(value.strip())
            if not equals or not re.fullmatch(r"[\w-]+", name.strip()) or not value.isprintable():
                raise ValueError("OTEL_EXPORTER_OTLP_HEADERS: write it like name=value,name=value.")
            headers[name.strip().lower()] = value
        return headers

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment and `.env`; `overrides` win (tests, command-line flags).

        Raises:
            ConfigurationError: one line for each wrong variable, or line of `.env`.
        """
        path = overrides.get("_env_file", ENV_FILE)
        try:
            if path is not None:
                env_file.check(Path(path))
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise ConfigurationError("\n".join(_explain(wrong) for wrong in error.errors())) from None
        except Exception as error:  # pydantic-settings wraps JSON errors of dict-valued variables
            cause = error.__cause__
            if isinstance(cause, json.JSONDecodeError):
                name = re.search(r'field "(\w+)"', str(error))
                raise ConfigurationError(f"{name[1].upper() if name else 'A variable'} is not JSON: {cause}") from None
            raise

    def check(self) -> list[str]:
        """What is wrong with this configuration as a whole.

        Returns:
            warnings that a person should read, none of which stops the start.

        Raises:
            ConfigurationError: the start must not go on; one line for each reason.
        """
        wrong: list[str] = []
        secret = self.jwt_secret.get_secret_value() if self.jwt_secret else None
        if secret is not None and len(secret) < MIN_JWT_SECRET:
            wrong.append(f"JWT_SECRET is shorter than {MIN_JWT_SECRET} characters; `amrikyy secrets` generates one.")
        if self.production:
            if secret is None:
                wrong.append("JWT_SECRET is not set, and production needs one; `amrikyy secrets` generates one.")
            if "*" in self.allowed_origins:
                wrong.append("ALLOWED_ORIGINS=* would let any site act with a user's credentials; name the origins.")
            if not self.models and not self.gemini_api_key:
                wrong.append(
                    "No model is configured: set GEMINI_API_KEY, or MODELS (for example openai:gpt-5-mini with "
                    "OPENAI_API_KEY), or MODELS=offline to serve the built-in model, which is not an AI."
                )
        wrong += self._wrong_about_redis()
        try:
            _ = self.otlp_headers
        except ValueError as error:
            wrong.append(str(error))
        for name in ("admin_email", "admin_password"):
            other = "admin_password" if name == "admin_email" else "admin_email"
            if getattr(self, name) and not getattr(self, other):
                wrong.append(f"{name.upper()} is set without {other.upper()}; the first admin needs both.")
        wrong += self._wrong_about_supabase()
        if wrong:
            raise ConfigurationError("\n".join(wrong))
        notes: list[str] = []
        # Platforms that run containers set it. It may as well be that of another server, whose .env this one shares.
        port = os.environ.get("PORT", "")
        if "phase2_port" not in self.model_fields_set and port.isdecimal() and int(port) != self.phase2_port:
            notes.append(f"PORT is not read: this server listens on PHASE2_PORT, which is {self.phase2_port}.")
        keys = [entry.partition(":")[0].strip() for entry in (reveal(self.valid_api_keys) or "").split(",")]
        notes += [
            f"VALID_API_KEYS: the key of entry {number} has less than {MIN_API_KEY} characters, and might be guessed; "
            "`amrikyy secrets` makes one."
            for number, key in enumerate(filter(None, keys), 1)
            if len(key) < MIN_API_KEY
        ]
        if self.openai_api_key and not self.models:
            notes.append("OPENAI_API_KEY is set, but no model uses it: name one, for example MODELS=openai:gpt-5-mini.")
        if not self.supabase_url:
            notes += [
                f"{name.upper()} is set without SUPABASE_URL, so the users are this server's own."
                for name in ("supabase_anon_key", "supabase_service_role_key", "supabase_jwt_secret")
                if getattr(self, name)
            ]
        elif self.admin_email:
            notes.append("ADMIN_EMAIL has no effect: Supabase Auth keeps the users.")
        return notes

    def _wrong_about_redis(self) -> list[str]:
        if self.redis is None and self.web_concurrency > 1:
            return ["WEB_CONCURRENCY is greater than 1, and several worker processes need Redis: set REDIS_URL."]
        if self.redis is not None and not re.match(r"(rediss?|unix)://", self.redis):
            return ["REDIS_URL is not the URL of a Redis: write it like redis://localhost:6379/0."]
        return []

    def _wrong_about_supabase(self) -> list[str]:
        if not self.supabase_url:
            return []
        wrong: list[str] = []
        if not self.supabase_anon_key:
            wrong.append("SUPABASE_URL is set without SUPABASE_ANON_KEY, which every request to it needs.")
        secret = self.supabase_jwt_secret.get_secret_value() if self.supabase_jwt_secret else None
        if secret is not None and len(secret.encode()) < MIN_JWT_SECRET:
            wrong.append(f"SUPABASE_JWT_SECRET is shorter than {MIN_JWT_SECRET} bytes, so it cannot be the project's.")
        url = urlsplit(self.supabase_url)
        if self.production and url.scheme == "http" and not _is_loopback(url.hostname):
            wrong.append("SUPABASE_URL begins with http://, and production sends passwords over https:// only.")
        return wrong


def in_production() -> bool:
    """Whether APP_ENV says so: known even if another setting is wrong, or `.env` cannot be read."""
    for given in (os.environ, env_file.values_of(Path(ENV_FILE))):
        for name in ("APP_ENV", "NODE_ENV"):
            if given.get(name):
                return given[name].strip().lower() == "production"
    return False


def misspelt() -> list[str]:
    """Sentences about variables that seem to be meant as a setting, and are none."""
    names = {name.upper() for name in Settings.model_fields} | {"NODE_ENV"}
    return list(env_file.misspelt(names, env_file.values_of(Path(ENV_FILE)), os.environ))


def _keys(secret: SecretStr | None) -> list[bytes]:
    return [key_bytes(text.strip()) for text in (reveal(secret) or "").split(",") if text.strip()]


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def _explain(wrong: Any) -> str:
    name = str(wrong["loc"][0]).upper() if wrong["loc"] else "The configuration"
    inside = ".".join(str(part) for part in wrong["loc"][1:])
    message = wrong["msg"].removeprefix("Value error, ")
    return f"{name}{f' ({inside})' if inside else ''}: {message[:1].lower()}{message[1:]}"
