# Everything installs itself into .venv on the first call; later calls start at once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export DAGSTER_HOME ?= $(CURDIR)/data/dagster

.DEFAULT_GOAL := help
.PHONY: help install demo test dev bench soak lint docs clean

help: ## what there is to do
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

install: $(READY) ## install into .venv
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 13) else f"Python 3.11 or 3.12 is needed, this is {v.major}.{v.minor}: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

demo: $(READY) ## a fleet with three weeks of history: models, alerts, live stream, the UI (ARGS=--once ends with a summary)
	$(BIN)/refrig demo $(ARGS)

test: lint ## lint, types, and every test
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(READY) ## ruff, mypy, and the one-way imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dev: $(READY) ## the Dagster UI on this project, live reload
	$(BIN)/python -m refrig_assets.defs.home $(DAGSTER_HOME)
	$(BIN)/dagster dev -w workspace.yaml $(ARGS)

bench: $(READY) ## the benchmarks, at full size (ARGS=--quick for a first look)
	$(BIN)/python -m benchmarks.batch $(ARGS)
	$(BIN)/python -m benchmarks.backfill $(ARGS)
	$(BIN)/python -m benchmarks.stream $(ARGS)
	$(BIN)/python -m benchmarks.scoring $(ARGS)
	$(BIN)/python -m benchmarks.notify $(ARGS)
	$(BIN)/python -m benchmarks.board $(ARGS)
	$(BIN)/python -m benchmarks.aged $(ARGS)

soak: $(READY) ## a simulated week of 100,000 devices through the stream: does its memory stay flat (ARGS=--devices=20000)
	$(BIN)/python -m benchmarks.soak $(ARGS)

docs: $(READY) ## the generated documents
	$(BIN)/python -m refrig_assets.contracts.document

clean: ## remove what was installed and built; data stays
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .import_linter_cache
