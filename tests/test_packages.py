"""Packages of which only some modules are loaded, and all of them for whoever asks for more."""

import subprocess
import sys

from amrikyy.cli.loading import look_up_prices
from amrikyy.settings import Settings

SERVER = """
import sys
from amrikyy.cli.loading import leave_out_unused, look_up_prices
leave_out_unused()
from amrikyy.settings import Settings
settings = Settings(app_env="production", jwt_secret="s" * 32, gemini_api_key="k", models=sys.argv[1], _env_file=None)
look_up_prices(settings)
from amrikyy.app import create_app
from amrikyy.cli.serve import uvicorn_config
from amrikyy.web.server import Server
app = create_app(settings)
config = uvicorn_config(app, settings)
config.load()
Server(config, app.drain)
app.metrics.http_requests.inc("GET", "/", "200")
print(*(name for name, module in sys.modules.items() if module is not None))
"""

FRONT_DOORS = {"click", "httpx2", "http.server", "multiprocessing", "wsgiref", "rich", "sqlalchemy.orm", "html"}
"""What comes with uvicorn, genai-prices, prometheus-client, structlog, SQLAlchemy and our documentation as a whole."""

PACKAGE = """
import sys
from amrikyy.packages import modules_only
modules_only("prometheus_client")
from prometheus_client import registry
assert "prometheus_client.exposition" not in sys.modules
import prometheus_client
assert prometheus_client.CollectorRegistry is registry.CollectorRegistry
assert prometheus_client.exposition is sys.modules["prometheus_client.exposition"]
try:
    prometheus_client.no_such_name
except AttributeError:
    pass
else:
    sys.exit("it has whatever one asks for")
modules_only("prometheus_client")
assert prometheus_client.CollectorRegistry is registry.CollectorRegistry
modules_only("no_such_package")
modules_only("uvicorn", Config="config")
from uvicorn import Config
from uvicorn.config import Config as same
assert Config is same and "uvicorn.main" not in sys.modules
from uvicorn import Server
assert "uvicorn.main" in sys.modules
"""


def loaded_by_a_server(models: str) -> set[str]:
    command = [sys.executable, "-c", SERVER, models]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_a_server_loads_no_command_line_no_client_and_no_server_but_its_own() -> None:
    loaded = loaded_by_a_server("gemini:gemini-2.5-pro")
    assert {"uvicorn.server", "genai_prices.types", "prometheus_client.registry", "amrikyy.web.docs"} <= loaded
    assert not FRONT_DOORS & loaded
    assert "genai_prices.data" not in loaded, "the table of prices is let go of"


def test_prices_are_not_read_for_what_costs_nothing() -> None:
    assert "genai_prices" not in loaded_by_a_server("offline")


def test_what_is_wrong_with_a_model_is_said_by_whoever_opens_it() -> None:
    settings = Settings(models="nobody:knows-it", _env_file=None)
    look_up_prices(settings)


def test_whoever_asks_for_more_of_a_package_gets_it() -> None:
    subprocess.run([sys.executable, "-c", PACKAGE], check=True)
