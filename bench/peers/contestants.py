"""The servers that are compared: how each is started and called, and how it lets callers in."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, version
from pathlib import Path

from bench.calls import BLOG_POST, BLOG_STREAM, Call
from bench.candidates import Candidate, amrikyy, express, missing
from bench.load import Marks
from bench.machine import installed

HERE = Path(__file__).parent
PROMPT = "Write a medium blog post about night trains, number {n}"
KEY = "sk-" + secrets.token_hex(16)
"""The key of every server that takes one. LiteLLM refuses well-known keys."""

BEARER = {"authorization": f"Bearer {KEY}"}


@dataclass(frozen=True)
class Contestant:
    """A server that takes part.

    Attributes:
        candidate: how it is started.
        post: the call that is answered as JSON.
        stream: the call that is answered as a stream.
        access: how callers are let in, for the report.
        version: the version that is measured.
        lacks: why it cannot take part, or None.
    """

    candidate: Candidate
    post: Call
    stream: Call
    access: str
    version: str
    lacks: str | None = None

    @property
    def name(self) -> str:
        """Its column in the table."""
        return self.candidate.name


def contestants() -> list[Contestant]:
    """All contestants, ours first."""
    return [
        Contestant(amrikyy(), BLOG_POST, BLOG_STREAM, "API key", version("amrikyy-agent")),
        _express(express()),
        _express(express("Express without log", ACCESS_LOG="off")),
        _litellm(),
        _agno(),
        _langgraph(),
        _adk(),
    ]


def _express(candidate: Candidate) -> Contestant:
    return Contestant(candidate, BLOG_POST, BLOG_STREAM, "JSON Web Token", installed("express"), missing())


def _litellm() -> Contestant:
    def command(port: int) -> list[str]:
        config = str(HERE / "litellm/config.yaml")
        return [_program("litellm", "litellm"), "--config", config, "--host", "127.0.0.1", "--port", str(port),
                "--telemetry", "False"]  # fmt: skip

    def environment(_: int, model_url: str, folder: Path) -> Mapping[str, str]:
        return {
            **_own(folder), "MODEL_URL": f"{model_url}/v1", "LITELLM_MASTER_KEY": KEY, "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }  # fmt: skip

    body = {"model": "writer", "messages": [{"role": "user", "content": PROMPT}]}
    path = "/v1/chat/completions"
    return Contestant(
        Candidate("LiteLLM", command, environment, BEARER, "/health/liveliness"),
        Call(path, body),
        Call(path, {**body, "stream": True}, streams=True, marks=Marks(b'"content":"', b"data: [DONE]")),
        "master key",
        _version("litellm", "litellm"),
        _lacks("litellm", "litellm"),
    )


def _agno() -> Contestant:
    def command(port: int) -> list[str]:
        return [_program("agno", "uvicorn"), "agent_os:app", "--app-dir", str(HERE / "agno"), "--port", str(port),
                "--log-level", "warning", "--no-access-log"]  # fmt: skip

    def environment(_: int, model_url: str, folder: Path) -> Mapping[str, str]:
        return {
            **_own(folder), "MODEL_URL": f"{model_url}/v1", "OS_SECURITY_KEY": KEY, "AGNO_TELEMETRY": "false",
        }  # fmt: skip

    path = "/agents/writer/runs"
    marks = Marks(b"event: RunContent\n", b"event: RunCompleted\n")
    return Contestant(
        Candidate("Agno", command, environment, BEARER, "/health"),
        Call(path, {"message": PROMPT, "stream": "false"}, form=True),
        Call(path, {"message": PROMPT, "stream": "true"}, streams=True, marks=marks, form=True),
        "OS security key",
        _version("agno", "agno"),
        _lacks("agno", "uvicorn"),
    )


def _langgraph() -> Contestant:
    def command(port: int) -> list[str]:
        return [_program("langgraph", "langgraph"), "dev", "--no-browser", "--no-reload", "--host", "127.0.0.1",
                "--port", str(port), "--n-jobs-per-worker", "64", "--server-log-level", "ERROR"]  # fmt: skip

    def environment(_: int, model_url: str, folder: Path) -> Mapping[str, str]:
        return {
            **_own(folder), "MODEL_URL": f"{model_url}/v1", "BENCH_KEY": KEY, "LANGSMITH_TRACING": "false",
            "LANGGRAPH_CLI_NO_ANALYTICS": "1", "LOG_LEVEL": "ERROR",
        }  # fmt: skip

    body = {"assistant_id": "writer", "input": {"messages": [{"role": "user", "content": PROMPT}]}}
    marks = Marks(b"event: messages\r\n", b"langgraph_node")
    return Contestant(
        Candidate("LangGraph", command, environment, {"x-api-key": KEY}, "/ok", files=HERE / "langgraph"),
        Call("/runs/wait", body, marks=Marks(complete=b'"finish_reason":"stop"')),  # chunked, though not streamed
        Call("/runs/stream", {**body, "stream_mode": ["messages-tuple"]}, streams=True, marks=marks),
        "its authentication hook with one key",
        _version("langgraph", "langgraph-api"),
        _lacks("langgraph", "langgraph"),
    )


def _adk() -> Contestant:
    def command(port: int) -> list[str]:
        return [_program("adk", "adk"), "api_server", "--host", "127.0.0.1", "--port", str(port),
                "--auto_create_session", "--session_service_uri", "memory://", "--log_level", "error",
                str(HERE / "adk")]  # fmt: skip

    def environment(_: int, model_url: str, folder: Path) -> Mapping[str, str]:
        return {
            **_own(folder), "GOOGLE_GEMINI_BASE_URL": model_url, "GOOGLE_API_KEY": "bench",
            "GOOGLE_GENAI_USE_VERTEXAI": "FALSE",
        }  # fmt: skip

    message = {"role": "user", "parts": [{"text": PROMPT}]}
    body = {"appName": "writer", "userId": "bench", "sessionId": "s{n}", "newMessage": message}
    marks = Marks(b'"partial":true', b'"finishReason":"STOP"')
    return Contestant(
        Candidate("ADK", command, environment, {}, "/list-apps"),
        Call("/run", body),
        Call("/run_sse", {**body, "streaming": True}, streams=True, marks=marks),
        "anyone: it has no authentication",
        _version("adk", "google-adk"),
        _lacks("adk", "adk"),
    )


def _own(folder: Path) -> Mapping[str, str]:
    """Variables that keep a peer to its own environment and folder."""
    return {"HOME": str(folder), "PYTHONPATH": "", "VIRTUAL_ENV": "", "NO_PROXY": "127.0.0.1"}


def _program(environment: str, name: str) -> str:
    return str(HERE / f".venv-{environment}/bin/{name}")


def _lacks(environment: str, name: str) -> str | None:
    return None if Path(_program(environment, name)).exists() else "it is not installed: make bench-peers installs it"


def _version(environment: str, package: str) -> str:
    paths = [str(path) for path in HERE.glob(f".venv-{environment}/lib/python*/site-packages")]
    found = next(iter(Distribution.discover(name=package, path=paths)), None)
    return found.version if found is not None else "not installed"
