# `make run` and `make test` do all their set-up, and are quick the second time.
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough and really starts (a pyenv shim may be there and not run).
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: help run test test-all test-pythons test-newest check bench bench-peers bench-quick coverage fuzz mutants search soak format clean

help: ## Show what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*##/\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "mellea-rx needs Python 3.11 or newer on the PATH" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python pyproject.toml
	@echo "installing mellea-rx with its extras local and cli"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e '.[local,cli]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	@echo "installing mellea-rx with what its tests need"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.run

run: $(VENV)/.run ## Three prompts at once on the embedded model, live side by side
	@$(BIN)/mellea-rx run --backend local --max-tokens 60 --seed 7 \
	  "Write a poem about mountains." "Write a poem about rivers." "Write a poem about forests." \
	  < /dev/null

# Tests in several processes, then those that no other test may run beside, one by one.
# The model is there before the processes start: they need not wait for each other's download.
PARALLEL := -q -n auto --maxprocesses 8 --dist worksteal
# Only the files that have such tests are read for the second part.
ALONE = $$(grep -rl --include='test_*.py' 'mark\.alone' tests)

test: $(VENV)/.dev ## The quick tests, with few examples of each law (two minutes)
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not alone" --hypothesis-profile=quick

test-all: $(VENV)/.dev ## All tests
	@$(BIN)/python -m mellea_rx.backends.model_files
	@$(BIN)/python -m pytest $(PARALLEL) -m "not alone"
	@$(BIN)/python -m pytest -q -m alone $(ALONE)

test-pythons: $(VENV)/.dev ## All tests that need no model, on each of Python 3.11 to 3.13 that is installed
	@$(BIN)/python -m tests.pythons

test-newest: $(VENV)/.dev ## Core, wire, session and conformance on the newest of these Pythons
	@$(BIN)/python -m tests.pythons --newest --profile quick --timeout 600 \
	  tests/core tests/wire tests/session tests/conformance

check: $(VENV)/.dev ## Lint, format, types, architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/python -m pytest -q tests/test_architecture.py

bench: $(VENV)/.dev ## All goals and all peers that are there; writes benchmarks/RESULTS.md (10 minutes)
	@$(BIN)/python -m mellea_rx.backends.model_files
	@$(BIN)/python -m benchmarks

bench-peers: $(VENV)/.dev ## Install the peers that `make bench` compares with, apart from the project
	@$(BIN)/python -m benchmarks.environments

# A measured Python is slower: what measures time and memory itself is left out.
coverage: $(VENV)/.dev ## The tests, and the branches that they leave out; fails under 95 %
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m coverage run -m pytest -q --ignore-glob='*/test_many_streams.py'
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m coverage report

mutants: $(VENV)/.dev ## Which changes to the wire and the thunk does no test notice? (half an hour each at most)
	@$(BIN)/python -m tests.mutation --minutes 30

bench-quick: $(VENV)/.dev ## Client CPU a chunk against the loop written by hand: the goals, and what is recorded
	@$(BIN)/python -m benchmarks.quick

fuzz: $(VENV)/.dev ## Search for a minute for bytes that break a decoder
	@$(BIN)/python -m tests.fuzz --seconds 60

search: $(VENV)/.dev ## Ten minutes of random programs that look for what nobody thought of
	@$(BIN)/python -m tests.search --seconds 600

soak: $(VENV)/.dev ## Five minutes of random faults, 200 streams at a time: right ends, and nothing grows
	@$(BIN)/python -m benchmarks.soak

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## Remove what set-up made here
	rm -rf $(VENV) .venv-3.* benchmarks/.venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .coverage .coverage.* build/mutants
