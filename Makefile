# The two commands that matter: `make run` and `make test`. Both work on a clean checkout with Python 3.11 alone.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
PROJECT := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .

TEST_WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help run dev test test-chaos test-deploy test-monitoring check format bench bench-peers bench-ladder chaos soak model-server openapi lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/run ## Start the server (port 3001, or PHASE2_PORT)
	@exec $(BIN)/amrikyy serve

dev: .venv/dev ## Start the server and restart it when a file changes
	@exec $(BIN)/amrikyy dev

test: .venv/dev ## Run all tests, on SQLite and on a PostgreSQL of their own
	@$(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist loadgroup

.PHONY: test-durability
test-durability: .venv/dev ## Kill servers in every step of a workflow and between them; two minutes
	@$(BIN)/python -m pytest -q -m durability tests/workflows

test-deploy: .venv/dev ## Try the deployment files: the image's steps replayed, PM2 from npm; half a minute
	@for tool in kubectl systemd-analyze node npm; do \
		command -v $$tool >/dev/null || echo "$$tool is not installed: what needs it is skipped."; done
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --prefix tests/deploy/pm2 \
		|| echo "npm could not fetch PM2: what needs it is skipped."; fi
	@$(BIN)/python -m pytest -q -m "" tests/deploy

test-monitoring: .venv/dev ## Let a real Prometheus judge the rules, the dashboard and the numbers; half a minute
	@if command -v prometheus >/dev/null && command -v promtool >/dev/null; then \
		$(BIN)/python -m pytest -q -m "" tests/monitoring; \
	else echo "Prometheus is not installed (Debian's package is called prometheus): nothing was tested."; fi

check: .venv/dev ## Check format, lint, types, import order, and that every exception from them has its reason
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q tests/test_style.py

format: .venv/dev ## Format the code and mend what the linter can
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

bench: .venv/dev bench/peers/express/node_modules ## Measure the server beside an Express server and a bare ASGI app: four minutes
	@$(BIN)/python -m bench

PEERS := litellm agno langgraph adk

bench-peers: .venv/dev bench/peers/express/node_modules $(PEERS:%=bench/peers/.venv-%/installed) ## Install LiteLLM, Agno, LangGraph and ADK, each by itself, and measure the server beside them: ten minutes
	@$(BIN)/python -m bench.peers

bench-ladder: .venv/dev ## Find the server's limits: rates, open streams, and what grows with what; ten minutes
	@$(BIN)/python -m bench.ladder

# One that cannot be installed is a line in the report.
bench/peers/.venv-%/installed: bench/peers/%/requirements.txt
	@echo "Installing $* for the bench (once) ..."
	@$(PYTHON) -m venv bench/peers/.venv-$*
	@bench/peers/.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< \
		&& touch $@ || echo "$* could not be installed: it is left out."

bench/peers/express/node_modules: bench/peers/express/package-lock.json
	@npm ci --silent --no-audit --no-fund --prefix bench/peers/express
	@touch $@

chaos: .venv/dev ## Kill and stop parts of a service under load and check its promises: ten minutes
	@$(BIN)/python -m bench.chaos --minutes 10

soak: .venv/dev ## Keep a server busy with clients of every kind and look whether anything grows: twenty minutes
	@$(BIN)/python -m bench.soak --minutes 20

test-chaos: .venv/dev ## A short run of the same faults for every seed: about a minute and a half
	@$(BIN)/python -m bench.chaos --seed 4 --minutes 0.7 --rate 12 --without "model server is killed" "stands still for"

model-server: .venv/dev ## Start a server that stands in for Gemini's and OpenAI's, on port 4010; it says how to use it
	@$(BIN)/python -m tests.model_server --port 4010 --tokens-per-s 50

openapi: .venv/dev ## Write docs/openapi.json anew
	@$(BIN)/python -c "import json; from amrikyy.app import endpoints_of; from amrikyy.agents.registry import load_registry; \
		from amrikyy.web.openapi import openapi; \
		print(json.dumps(openapi(endpoints_of(load_registry())), indent=1, ensure_ascii=False))" > docs/openapi.json

lock: .venv/dev ## Lock the dependencies anew, by name, version and hash
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@for kind in run dev; do $(BIN)/uv pip compile --quiet pyproject.toml --group build $$(test $$kind = dev && echo --group dev) \
		--python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --upgrade -o requirements/$$kind.txt; done
	@cd bench/peers; for peer in $(PEERS); do ../../$(BIN)/uv pip compile --quiet $$peer/requirements.in \
		--python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --upgrade -o $$peer/requirements.txt; done

clean: ## Remove the virtual environment and all caches (./data stays)
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later (with venv) is needed: install it, or say PYTHON=/path/to/python3."; exit 1; }
	@echo "Making a virtual environment with $(PYTHON) ..."
	@$(PYTHON) -m venv .venv

# The stamps are files, so that a second run starts at once.
.venv/run: requirements/run.txt pyproject.toml | .venv/bin/python
	@echo "Installing the locked dependencies (once) ..."
	@$(PIP) -r requirements/run.txt
	@$(PROJECT)
	@touch $@

.venv/dev: requirements/dev.txt pyproject.toml | .venv/bin/python
	@echo "Installing the locked development dependencies (once) ..."
	@$(PIP) -r requirements/dev.txt
	@$(PROJECT)
	@touch $@
