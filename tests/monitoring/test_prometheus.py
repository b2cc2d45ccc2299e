"""A real Prometheus scrapes real servers: every expression has data, and the numbers are those of what was sent."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from amrikyy.spend.budgets import REFRESH_S
from tests.model_server import Behaviour, ModelServer
from tests.monitoring.files import RULES, conditions, dashboard_expressions, rules
from tests.process import free_port, server_process
from tests.serving import KEYS

pytestmark = pytest.mark.monitoring

BLOG = "/api/agents/content/generateBlogPost"
PRICES = {"gemini-2.0-flash-exp": {"input": 1000, "output": 2000}}
LIMITS = {"global": "100000/minute", "content": "100000/minute", "content.generateBlogPost": "100000/minute",
          "innovation": "100000/minute", "innovation.generateIdeas": "1/hour"}  # fmt: skip
SETTLED_S = 30
"""Within which Prometheus has seen, and computed, everything."""


@dataclass(slots=True)
class Sent:
    """What the servers were asked, and what they answered."""

    statuses: dict[int, int] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def count(self, status: int, answer: dict[str, Any]) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200 and not answer["cached"]:
            self.count_use(answer)

    def count_use(self, answer: dict[str, Any]) -> None:
        self.input_tokens += answer["usage"]["promptTokens"]
        self.output_tokens += answer["usage"]["completionTokens"]
        self.cost_usd += answer["costUsd"]


class Load:
    """A script of everything that the dashboard shows, twice over, so that there is a rate."""

    def __init__(self, http: aiohttp.ClientSession, models: ModelServer, urls: list[str]) -> None:
        self.sent = Sent()
        self._http = http
        self._models = models
        self._urls = urls

    async def ask(self, url: str, path: str, body: object, key: str = "premium") -> tuple[int, Any]:
        async with self._http.post(url + path, json=body, headers={"x-api-key": KEYS[key]}) as reply:
            text = await reply.text()
            return reply.status, json.loads(text) if reply.content_type == "application/json" else text

    async def blog(self, url: str, topic: str) -> None:
        self.sent.count(*await self.ask(url, BLOG, {"topic": f"{topic}, at {url}", "length": "short"}))

    async def streamed(self, url: str, topic: str) -> None:
        _, text = await self.ask(url, "/api/stream/blog", {"topic": topic, "length": "short"})
        complete = text.partition("event: complete\ndata: ")[2].partition("\n")[0]
        self.sent.count_use(json.loads(complete))

    async def wave(self, number: int) -> None:
        for url in self._urls:
            # More at a time than there are slots, so that some wait in line; the last is in the cache.
            await asyncio.gather(*(self.blog(url, f"Wave {number}, part {part}") for part in range(6)))
            await self.blog(url, f"Wave {number}, part 0")
            self._models.script.append(Behaviour(status=400))
            await self.blog(url, f"Wave {number}, broken")
            await self.streamed(url, f"Wave {number}, streamed, at {url}")
            for _ in range(2):
                await self.ask(url, "/api/agents/innovation/generateIdeas", {"niche": "gardens", "count": 1})
            assert (await self.ask(url, BLOG, {"topic": "Not covered"}, "user"))[0] == 402
            await self.ask(url, "/api/agents/innovation/validateIdea", {"idea": f"A garden in wave {number}"})
            step = {"agent": "innovation", "method": "analyzeTrends", "params": {"industry": f"Step {number}"}}
            await self.ask(url, "/api/coordinator/sequential", {"steps": [step], "input": {}})


class Prometheus:
    """Its HTTP API."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def query(self, expression: str) -> list[float]:
        async with self._http.get(f"{self._url}/api/v1/query", params={"query": expression}) as reply:
            answer = await reply.json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        return [float(sample["value"][1]) for sample in answer["data"]["result"]]

    async def value(self, expression: str) -> float:
        (value,) = await self.query(expression)
        return value


@asynccontextmanager
async def prometheus(folder: Path, targets: list[str], http: aiohttp.ClientSession) -> AsyncIterator[Prometheus]:
    """A Prometheus with the rules of deploy/, until the block ends. It scrapes each second, not each fifteen."""
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{RULES}/*.yaml"],
        "scrape_configs": [{"job_name": "amrikyy", "metrics_path": "/api/metrics",
                            "static_configs": [{"targets": [url.removeprefix("http://") for url in targets]}]}],
    }  # fmt: skip
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address={url.removeprefix('http://')}", stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while True:
                assert process.returncode is None, (folder / "prometheus.log").read_text()
                try:
                    async with http.get(f"{url}/-/ready") as reply:
                        if reply.status == 200:
                            break
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.1)
        yield Prometheus(http, url)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def missing(server: Prometheus, expressions: list[str]) -> list[str]:
    """Those that have no number."""
    without = []
    for expression in expressions:
        values = await server.query(expression)
        if not values or all(math.isnan(value) for value in values):
            without.append(expression)
    return without


@pytest.mark.timeout(240)
async def test_every_expression_has_data_and_the_numbers_are_those_of_what_was_sent(
    tmp_path: Path, redis_url: str
) -> None:
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(ModelServer())
        models.rule = lambda _: Behaviour(pieces=["# A title\n\n", *["word "] * 40], before_s=0.05)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)))
        environment = {
            "DATABASE_URL": f"sqlite:///{tmp_path}/shared.db", "REDIS_URL": redis_url, "REDIS_PREFIX": tmp_path.name,
            "JWT_SECRET": "j" * 40, "MODELS": "", "GEMINI_API_KEY": "k" * 39, "GEMINI_BASE_URL": models.url,
            "MODEL_PRICES": json.dumps(PRICES), "METRICS_PUBLIC": "true", "MAX_CONCURRENT_STREAMS": "4",
            "RATE_LIMITS": json.dumps(LIMITS), "RATE_LIMIT_WHITELIST": "",
        }  # fmt: skip
        urls = []
        # The second one asks a model for what is hard whose price nobody knows.
        for name, pro_model in (("first", "gemini-2.0-flash-exp"), ("second", "unheard-of")):
            (folder := tmp_path / name).mkdir()
            given = environment | {"GEMINI_PRO_MODEL": pro_model}
            urls.append((await stack.enter_async_context(server_process(folder, **given)))[1])
        load = Load(http, models, urls)
        budget = {"subject": "role:user", "period": "day", "limitUsd": 0.001}
        assert (await load.ask(urls[0], "/api/budgets", budget, "admin"))[0] == 200
        has_workflows = (await load.ask(urls[0], "/api/coordinator/sequential", {}))[0] != 404
        server = await stack.enter_async_context(prometheus(tmp_path, urls, http))

        await asyncio.sleep(2 * REFRESH_S)  # until the second server has learnt of the budget
        await load.wave(0)
        await asyncio.sleep(3)
        await load.wave(1)

        sent = load.sent
        assert sent.statuses == {200: 28, 502: 4}
        posts = f'http_requests_total{{method="POST",route="{BLOG}",status='
        async with asyncio.timeout(SETTLED_S):
            while await server.query(f'sum({posts}"502"}})') != [4]:
                await asyncio.sleep(0.5)
            wanted = [
                *dashboard_expressions(),
                *(rule["expr"] for rule in rules() if "record" in rule),
                *(part for rule in rules() if "alert" in rule for part in conditions(rule["expr"])),
            ]
            if not has_workflows:
                wanted = [each for each in wanted if "coordinator" not in each]
            without = wanted
            while without:
                await asyncio.sleep(1)
                without = await missing(server, without)

        equal = {
            f'sum({posts}"200"}})': 28,
            f'sum({posts}"402"}})': 4,
            'sum(run_errors_total{code="model_request_rejected"})': 4,
            'sum(run_errors_total{code="budget_spent"})': 4,
            "sum(budget_refusals_total)": 4,
            'sum(cache_operations_total{agent="content",result="hit"})': 4,
            'sum(stream_sessions_total{agent="content",status="completed"})': 4,
            'sum(llm_calls_total{agent="content",status="ok"})': 28,
            'sum(llm_tokens_used_total{agent="content",type="input"})': sent.input_tokens,
            'sum(llm_tokens_used_total{agent="content",type="output"})': sent.output_tokens,
            'sum(llm_cost_dollars_total{agent="content"})': pytest.approx(sent.cost_usd),
        }
        assert {expression: await server.value(expression) for expression in equal} == equal
        booked = await _booked(http, urls)
        assert booked["costUsd"] == pytest.approx(sent.cost_usd)
        assert booked["usage"]["completionTokens"] == sent.output_tokens > 0


async def _booked(http: aiohttp.ClientSession, urls: list[str]) -> Any:
    """What all servers together have in the ledger; each writes down what it knows before it answers."""
    for url in urls:
        async with http.get(f"{url}/api/usage?caller=all&agent=content", headers={"x-api-key": KEYS["admin"]}) as reply:
            answer = await reply.json()
    return answer["total"]
