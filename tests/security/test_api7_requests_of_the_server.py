"""API7, server side request forgery: nothing that a caller sends becomes an address that the server asks."""

import asyncio

from tests.serving import MakeSettings, Served, serve

HIDDEN_FIELDS = ("url", "webhook", "callback", "baseUrl", "model", "models", "endpoint", "image")


async def test_an_address_in_any_text_is_asked_by_nobody(server: Served) -> None:
    asked: list[str] = []

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append("somebody came")
        writer.close()

    listening = await asyncio.start_server(listen, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/latest/meta-data"
    try:
        for path, body in (
            ("/api/agents/content/generateBlogPost", {"topic": f"Summarise {url}", "keywords": [url]}),
            (
                "/api/agents/innovation/analyzeCompetitors",
                {"niche": "travel apps", "competitors": [url, "file:///etc/passwd"]},
            ),
            ("/api/agents/travel/ask", {"query": f"hotels in {url} from 2 May"}),
        ):
            reply = await server.ask("POST", path, body)
            assert reply.status in (200, 400)
            assert "root:" not in reply.body.decode()
        headers = {"referer": url, "origin": url, "x-forwarded-host": url, "x-forwarded-for": url, "traceparent": url}
        assert (await server.ask("GET", "/api/agents/list", headers=headers)).status == 200
    finally:
        listening.close()
        await listening.wait_closed()
    assert asked == []


async def test_no_operation_takes_an_address_to_ask(server: Served) -> None:
    for endpoint in server.app.endpoints:
        if endpoint.body is not None:
            names = {field.alias or name for name, field in endpoint.body.model_fields.items()}
            assert not names & set(HIDDEN_FIELDS), endpoint.path


async def test_the_model_cannot_send_the_server_elsewhere(make_settings: MakeSettings) -> None:
    asked: list[str] = []

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        asked.append(line.decode().split()[1])
        where = f"http://127.0.0.1:{port}/hidden-place"
        writer.write(
            f"HTTP/1.1 302 Found\r\nlocation: {where}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(redirect, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    settings = make_settings(
        models="openai:m", openai_api_key="a-key", openai_base_url=f"http://127.0.0.1:{port}/v1", model_attempts=1
    )
    try:
        async with serve(settings) as server:
            reply = await server.ask("POST", "/api/agents/content/generateBlogPost", {"topic": "Lisbon"})
        assert reply.status == 502
        assert "hidden-place" not in reply.body.decode()
        assert asked
        assert "/hidden-place" not in asked
    finally:
        listening.close()
        await listening.wait_closed()
