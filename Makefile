# How people build, test and try cxstream; `make` alone lists what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PEERS := .cache/peers
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

.PHONY: help
help: ## List the targets
	@echo "cxstream: make TARGET"
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target what; do \
		printf '%-14s %s\n' "$$target" "$$what"; done

.PHONY: demo
demo: .venv/.demo ## Try it: broker, traffic, worker and live page in one command (Python and PyPI only; ARGS="...")
	@$(BIN)/cxstream demo $(ARGS)

.PHONY: stack
stack: .venv/.dev ## See the whole: Apache Kafka, two workers, an upstream, Prometheus, Alertmanager, until Ctrl-C (ARGS="--seconds N")
	@scripts/install-system-packages || true # it says what to do; without Java there is the embedded broker
	@PYTHONPATH=tests $(BIN)/python -m parts.stack $(ARGS)

.PHONY: test
test: .venv/.dev ## Check everything: style, types, layers, then all tests against real Kafka and Prometheus
	@scripts/install-system-packages || echo "make test: going on without; the end of the run lists what was left out" >&2
	@$(MAKE) lint types layers bandit
	@echo "== tests: unit, property, contract, golden, simulation, integration, e2e"
	@scripts/run-tests $(ARGS)

.PHONY: test-fast
test-fast: .venv/.dev ## Run the tests that need no Kafka and little time
	@$(BIN)/python -m pytest tests -m "not kafka and not slow" $(ARGS)

.PHONY: soak
soak: .venv/.dev ## Do faults to real workers for MINUTES=15 and compare after each (SEED, BROKERS=3, UPGRADE_FROM=<git ref>)
	@PYTHONPATH=tests $(BIN)/python -m faults.soak --minutes $(or $(MINUTES),15) $(SEED:%=--seed %) \
		$(BROKERS:%=--brokers %) $(UPGRADE_FROM:%=--upgrade-from %) $(ARGS)

.PHONY: takeover
takeover: .venv/.dev ## Measure how long 100,000 live cases are without a full voice when a worker dies, leaves or joins
	@PYTHONPATH=.:src:tests $(BIN)/python -m benchmarks takeover $(ARGS)

.PHONY: bench
bench: .venv/.dev $(if $(filter engines,$(or $(ONLY),engines)),$(PEERS)/.made) ## Measure what an event costs, beside other engines (ONLY="engines core growth latency live scrape takeover traffic", ARGS; PyPI)
	@PYTHONPATH=.:src:tests $(BIN)/python -m benchmarks --peers $(PEERS)/bin/python $(ONLY) $(ARGS)

.PHONY: histories
histories: .venv/.dev ## Judge HISTORIES=10000 random case histories twice, by the engine and by the oracle (ARGS="-n 2")
	@CXSTREAM_TEST_HISTORIES=$(or $(HISTORIES),10000) $(BIN)/python -m pytest tests/property/test_oracle.py \
		-k "agrees_with_the_oracle or agree_on_merged_cases" $(ARGS)

.PHONY: fuzz
fuzz: .venv/.dev ## Try all that is random with new seeds for MINUTES=10: garbage at the edges, histories, faults
	@$(BIN)/python scripts/fuzz $(MINUTES)

.PHONY: lint
lint: .venv/.dev ## Check style and format (ruff)
	@echo "== lint"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet || { echo "make lint: run make format" >&2; exit 1; }

.PHONY: types
types: .venv/.dev ## Check types (mypy, strict)
	@echo "== types"
	@$(BIN)/mypy

.PHONY: layers
layers: .venv/.dev ## Check that imports go straight down (import-linter)
	@echo "== layers"
	@$(BIN)/lint-imports --no-logo 2>&1 || { echo "make layers: see [tool.importlinter] in pyproject.toml" >&2; exit 1; }

.PHONY: bandit
bandit: .venv/.dev ## Look for careless code (bandit)
	@echo "== bandit"
	@$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src examples \
		$$(grep -lIs '^#!.*python' scripts/*)

.PHONY: audit
audit: .venv/.dev ## Look the locked dependencies up among known vulnerabilities (pip-audit; needs its database)
	@$(BIN)/python scripts/audit requirements/runtime.lock requirements/dev.lock

.PHONY: sbom
sbom: .venv/.dev ## Write what the service is made of to dist/cxstream.cdx.json (CycloneDX, from the runtime lock)
	@mkdir -p dist
	@$(BIN)/python scripts/sbom dist/cxstream.cdx.json

.PHONY: format
format: .venv/.dev ## Format the code and mend what can be mended by itself
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

.PHONY: render
render: .venv/.dev ## Generate rules, dashboards, inventories and reference pages from the catalogue
	@$(BIN)/cxstream render

.PHONY: real-data
real-data: .venv/.dev ## Generate docs/real-data.md from the public logs in ../shared (or CXSTREAM_TEST_SHARED)
	@$(BIN)/python scripts/real-data

.PHONY: kafka
kafka: ## Fetch Apache Kafka for the tests into .cache (Java 17 and Maven)
	@scripts/fetch-kafka

.PHONY: lock
lock: .venv/.dev ## Pin all dependencies anew, with hashes
	@$(COMPILE) pyproject.toml --output-file requirements/runtime.lock $(ARGS)
	@$(COMPILE) pyproject.toml --extra demo --extra dev --group build -c requirements/runtime.lock \
		--output-file requirements/dev.lock $(ARGS)
	@$(COMPILE) pyproject.toml --extra demo --group build -c requirements/dev.lock --output-file requirements/demo.lock
	@$(COMPILE) --group build -c requirements/dev.lock --output-file requirements/build.lock

.PHONY: clean
clean: ## Remove what the targets above made
	@rm -rf .venv .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One .venv; each stamp tells which lock is in it. dev.lock holds all that demo.lock holds, in the same versions.

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: cxstream needs Python 3.11 or later; say which with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "make: $(PYTHON) cannot make a virtual environment (Debian: apt-get install python3-venv)" >&2; exit 1; }

.venv/.demo: requirements/demo.lock pyproject.toml | .venv/pyvenv.cfg
	@[[ -e .venv/.dev && ! requirements/dev.lock -nt .venv/.dev ]] || { echo "== install: demo"; \
		$(PIP) install --require-hashes -r $<; }
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements/dev.lock pyproject.toml | .venv/pyvenv.cfg
	@echo "== install: demo and development"
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# The engines that `make bench` compares with; their libraries need not agree with ours.
$(PEERS)/.made: benchmarks/peers/requirements.txt | .venv/.dev
	@echo "== install: the peers of the benchmarks"
	@$(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@
