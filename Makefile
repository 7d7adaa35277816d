.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PACKAGES := imagejobs producer worker sandbox

help:  ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("imagejobs needs Python 3.11 or later: make PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.test: requirements-test.lock .venv/.runtime
	$(PIP) install --require-hashes -r requirements-test.lock
	@touch $@

install: .venv/.runtime  ## the locked environment and the imagejobs command, in .venv

run: .venv/.runtime  ## the main job: examples/night.jsonl against the stand-in provider
	$(BIN)/imagejobs run examples/night.jsonl --sandbox

test: .venv/.test  ## all tests but the fault matrix: unit, edges (real servers), system (real processes), simulation
	$(BIN)/pytest --cov --cov-report=term
	$(BIN)/pytest tests/simulation

lint: .venv/.test  ## format, lint, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint  ## lint, the unit and edge tests, and a minute of simulated runs
	$(BIN)/pytest tests/unit tests/edges --cov --cov-report=term
	$(BIN)/python -m tests.simulation --fresh --seconds 60

SEEDS ?= 500
sim: .venv/.test  ## the real code under a seeded scheduler: SEEDS=5000 runs that many, SEED=123 repeats one and shows it
	$(BIN)/python -m tests.simulation $(if $(EXPLORE),--explore,$(if $(SEED),--seed $(SEED),--seeds $(SEEDS) $(if $(FIRST),--first $(FIRST),--fresh)))

SECONDS ?= 600
fuzz: export FUZZ_SCALE ?= 5
fuzz: .venv/.test  ## new mutants of everything that others send, and the ledger at random, for about SECONDS=600
	@until=$$(($$(date +%s) + $(SECONDS))); while [ $$(date +%s) -lt $$until ]; do \
	  $(BIN)/pytest -q tests/fuzz tests/edges/test_ledger_machine.py || exit 1; done

system: .venv/.test  ## the system tests alone
	$(BIN)/pytest tests/system

FAULT_ROWS_AT_ONCE ?= 3
faults: export FAULT_JOBS ?= 500
faults: .venv/.test  ## the fault matrix: each fault caused on purpose, with real processes and servers (FAULT_JOBS=500 a row)
	$(BIN)/pytest tests/faults -n $(FAULT_ROWS_AT_ONCE) --dist worksteal

soak: export SOAK_MINUTES ?= 20
soak: .venv/.test  ## everything at once, for SOAK_MINUTES=20
	$(BIN)/pytest tests/faults/soak.py -s

.venv-bench/.peers: ops/bench/requirements.lock
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes -r ops/bench/requirements.lock
	@touch $@

bench: .venv/.test .venv-bench/.peers  ## the main table, in ten minutes at most: docs/benchmarks.md
	$(BIN)/python -m ops.bench table

bench-full: .venv/.test .venv-bench/.peers  ## every contestant in every scenario, a million rows and all else, for a day
	$(BIN)/python -m ops.bench table --full
	$(BIN)/python -m ops.bench fairness --beside 1000000
	$(BIN)/python -m ops.bench outage
	$(BIN)/python -m ops.bench changes
	$(BIN)/python -m ops.bench idle
	$(BIN)/python -m ops.bench anatomy
	$(BIN)/python -m ops.bench million

docs: .venv/.test  ## bring the generated parts of the docs up to date
	$(BIN)/python ops/docs/generate.py

clean:  ## forget the environment and caches (not your data)
	rm -rf .venv .venv-bench build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*

.PHONY: help install run test lint check fuzz sim system faults soak bench bench-full docs clean
