# Everything installs into .venv, once; a second call finds it there.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
SHARED ?= ../shared

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-long mutants sweep faults bench docs lint format scenes puppets wheel clean

help:  ## List these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: $(BIN)/.installed  ## The whole path in under a minute: scenes, maps, a question, a report
	$(BIN)/salcheck demo

test: $(BIN)/.installed  ## Lint, types and every test but the long ones
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --maxprocesses 4 -m "not long"

test-fast: $(BIN)/.installed  ## The tests without the slow ones (a wheel in another environment)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 -m 'not slow and not long'

test-long: $(BIN)/.installed  ## Is every number what it was? The old study asked again: six minutes on one core
	$(BIN)/python -m pytest -n auto --maxprocesses 4 -m long

mutants: $(BIN)/.installed  ## Is every small error in a formula noticed? 30 minutes; FILES="gradcam case" for less
	$(BIN)/python -m tests.mutants $(FILES)

sweep: $(BIN)/.installed  ## Is every family of timm cut well? 15 minutes; FAMILIES="levit resnet18" for less
	$(BIN)/python -m tests.network.sweep $(FAMILIES)

faults: $(BIN)/.installed  ## Full disks, kill -9, broken files: is anything lost? An hour; KINDS="killed signals" for less
	$(BIN)/python -m tests.faults $(KINDS)

bench: $(BIN)/.installed  ## Speed, memory, peers, planted truth: 50 minutes (needs real weights and photographs)
	$(BIN)/python -m tests.benchmarks.bench_rq1 --shared $(SHARED)
	$(BIN)/python -m tests.benchmarks.bench_methods --shared $(SHARED)
	$(BIN)/python -m tests.benchmarks.bench_imputation --shared $(SHARED)
	$(BIN)/python -m tests.benchmarks.bench_curves --shared $(SHARED)
	$(BIN)/python -m tests.benchmarks.bench_truth

docs: $(BIN)/.installed  ## Write the tables of the pages in docs/ from the code
	$(BIN)/python docs/write.py

lint: $(BIN)/.installed  ## Ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(BIN)/.installed  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

scenes: $(BIN)/.installed  ## Train the built-in model again into salcheck/assets/scenes
	$(BIN)/salcheck train --out salcheck/assets/scenes

puppets: $(BIN)/.installed  ## Train the other built-in model again into salcheck/assets/puppets
	$(BIN)/salcheck train --dataset puppets --out salcheck/assets/puppets

wheel: $(BIN)/.installed  ## Build the wheel into dist/
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## Remove what these targets made, but the environment
	rm -rf dist build salcheck-demo .pytest_cache .ruff_cache .mypy_cache
