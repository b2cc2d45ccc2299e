"""API8, security misconfiguration: origins, headers, paths, requests in requests, and what an error tells."""

from tests.security.conftest import Raw
from tests.serving import KEYS, MakeSettings, Served, serve

HERE = "https://app.example.com"


ELSEWHERE = [
    "https://evil.example",
    "null",
    "https://app.example.com.evil.example",
    "http://app.example.com",
    "https://app.example.com:444",
    "https://APP.example.com@evil.example",
    "https://evilapp.example.com",
]


async def test_a_page_of_another_origin_may_read_nothing(make_settings: MakeSettings) -> None:
    async with serve(make_settings(allowed_origins=HERE)) as server:
        for origin in ELSEWHERE:
            reply = await server.ask("GET", "/api/agents/list", headers={"origin": origin})
            assert "access-control-allow-origin" not in reply.headers
            asked = {"origin": origin, "access-control-request-method": "POST"}
            reply = await server.ask("OPTIONS", "/api/stream/blog", key=None, headers=asked)
            assert "access-control-allow-origin" not in reply.headers
            reply = await server.ask("GET", "/api/agents/list", headers={"origin": HERE})
            assert reply.headers["access-control-allow-origin"] == HERE
            assert "Origin" in reply.headers["vary"]


async def test_without_a_setting_no_page_may(server: Served) -> None:
    reply = await server.ask("GET", "/api/agents/list", headers={"origin": HERE})
    assert "access-control-allow-origin" not in reply.headers


PATHS = [
    "/api/../api/auth/users",
    "/api/status/../auth/users",
    "/api/status/..%2fauth/users",
    "/api/status;/auth/users",
    "/api/auth/users/",
    "//api/auth/users",
    "/api//auth/users",
    "/API/auth/users",
    "/api/auth%2fusers",
    "/api/auth/users%00",
    "/api/auth/users%0d%0ax-evil:1",
    "/api/auth/./users",
    "/api/status%2f..%2f..%2fetc%2fpasswd",
    "/api/docs/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/.env",
    "/.git/config",
    "/data/amrikyy.db",
]


async def test_no_path_slips_past_the_credential(raw: Raw) -> None:
    for path in PATHS:
        said = await raw(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        assert said.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400")), said[:200]
        assert b"x-evil" not in said.lower().partition(b"\r\n\r\n")[0]
        assert b"root:" not in said


REQUEST_IDS = ["a\r\nx-evil: 1", "a%0d%0ax-evil: 1", "<script>", "é", "x" * 65, "a b"]


async def test_a_request_id_cannot_become_a_header_or_a_log_line(raw: Raw) -> None:
    for value in REQUEST_IDS:
        said = await raw(b"GET /api/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: "
                         + value.encode("latin-1") + b"\r\n\r\n")  # fmt: skip
        head = said.partition(b"\r\n\r\n")[0].lower()
        assert b"\r\nx-evil" not in head
        echoed = head.partition(b"x-request-id: ")[2].partition(b"\r\n")[0]
        assert echoed == b"a" or echoed.startswith(b"req_"), value


KEY = KEYS["user"].encode()
SMUGGLED = b"GET /api/auth/me HTTP/1.1\r\nhost: x\r\nx-api-key: " + KEY + b"\r\n\r\n"


AMBIGUOUS = [
    b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    b"content-length: 0\r\ncontent-length: 40\r\n\r\n" + SMUGGLED,
    b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    b"transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n" + SMUGGLED,
    b"content-length : 5\r\n\r\n" + SMUGGLED,
    b"x: y\n content-length: 5\r\n\r\n" + SMUGGLED,
]


async def test_a_request_whose_end_is_ambiguous_hides_no_other(raw: Raw) -> None:
    for headers in AMBIGUOUS:
        said = await raw(b"POST /api/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" + headers)
        assert b'"kind":"key"' not in said


async def test_two_credentials_are_none(server: Served) -> None:
    both = {"x-api-key": KEYS["user"], "authorization": "Bearer a.b.c"}
    assert (await server.ask("GET", "/api/auth/me", key=None, headers=both)).json["code"] == "ambiguous_credentials"


async def test_no_answer_of_a_caller_may_be_kept_by_a_cache_on_the_way(server: Served) -> None:
    for path in ("/api/agents/list", "/api/runs", "/api/auth/me", "/api/usage"):
        assert (await server.ask("GET", path)).headers["cache-control"] == "no-store", path
    for method, path, body, status in (
        ("GET", "/api/usage?format=csv", None, 200),
        ("GET", "/api/runs/run_0", None, 404),
        ("GET", "/api/stream/run_0", None, 410),
        ("GET", "/api/agents/travel/health", None, 200),
        ("POST", "/api/agents/travel/ask", {"query": "hotels in Oslo"}, 200),
        ("POST", "/api/coordinator/sequential", {"steps": []}, 400),
    ):
        reply = await server.ask(method, path, body)
        assert (reply.status, reply.headers["cache-control"]) == (status, "no-store"), path


STRANGE = (
    "%00",
    "a%00b",
    "%0a",
    "%ff%fe",
    "%ed%a0%80",
    "%f0%9f%92%a9",
    "'%20OR%201=1--",
    "x" * 5_000,
    "%25s",
    "${7*7}",
)
"""What a database, a pattern or a template might choke on."""


async def test_an_error_tells_nothing_of_the_inside(server: Served) -> None:
    asked = [("TRACE", "/api/status"), ("GET", "/api/auth/users/{}"), ("GET", "/api/agents/{}/health")]
    asked += [("GET", f"/api/runs/{value}") for value in STRANGE]
    asked += [("GET", f"/api/stream/{value}") for value in STRANGE[:3]]
    for path, endpoint in {each.path: each for each in server.app.endpoints if each.query is not None}.items():
        assert endpoint.query is not None
        names = [field.alias or name for name, field in endpoint.query.model_fields.items()]
        asked += [("GET", f"{path}?{name}={value}") for name in names for value in STRANGE[:7]]
    told = []
    for method, path in asked:
        reply = await server.ask(method, path, key="admin")
        assert reply.status < 500, (path, reply.body)
        told.append(reply.body.decode())
    for word in ("Traceback", "sqlalchemy", "/src/", ".py", "SELECT", "asyncpg"):
        assert not [text for text in told if word in text], word


async def test_a_strange_character_in_a_body_breaks_nothing_behind(server: Served) -> None:
    for text in (
        "Lisbon\x00",
        "\x00\x00\x00",
        "Lisbon \U0001f4a9",
        "Lis\u202ebon",
        "Lis\x1bbon",
        "'; DROP TABLE runs; --",
    ):
        reply = await server.ask("POST", "/api/agents/content/generateBlogPost", {"topic": text})
        assert reply.status in (200, 400), (text, reply.body)
    await server.runtime.records.flush()
    assert (await server.ask("GET", "/api/runs")).status == 200
    for path, body in (
        ("/api/budgets", {"subject": "user:\x00", "period": "day", "limitUsd": 1}),
        ("/api/auth/keys", {"name": "a\x00b", "role": "user"}),
        ("/api/auth/users", {"email": "a\x00@example.com", "role": "user"}),
        ("/api/agents/travel/cache/clear", {"pattern": "\x00"}),
        ("/api/auth/refresh", {"refreshToken": "\x00"}),
        ("/api/auth/login", {"email": "a\x00@example.com", "password": "\x00" * 12}),
    ):
        assert (await server.ask("POST", path, body, key="admin")).status < 500, path
