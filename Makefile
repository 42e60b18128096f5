# Two commands: `make quickstart` runs the product's main job from nothing, `make test` runs all tests. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
SETUP := $(PYTHON) tools/setup.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup quickstart lab test test-needs test-notebooks test-python test-lab check docs bench lock vllm wheel clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## environments from the lock files, the package, the Lab extension
	@$(if $(READY),,$(SETUP))

quickstart: setup  ## from dataset to a proven, running deployment, in workspace/
	@$(BIN)/llmops quickstart --dir workspace $(ARGS)

lab: setup  ## JupyterLab on workspace/, with Phoenix and the dashboards
	@mkdir -p workspace && cd workspace && ../$(BIN)/llmops lab $(ARGS)

test: setup test-needs  ## all tests: notebooks, TypeScript, pytest with the browser
	@$(MAKE) --no-print-directory --keep-going READY=1 test-notebooks test-lab test-python

test-needs:
	@$(PYTHON) tools/setup.py tests

test-notebooks: setup  ## the lessons: every notebook runs
	@OMP_NUM_THREADS=1 $(BIN)/nbdev-test --n-workers 2

test-lab: setup
	@if [ -d jupyter_extension/node_modules ]; then cd jupyter_extension && PATH="$(CURDIR)/$(BIN):$$PATH" jlpm test; \
	else echo "TypeScript tests left out: no Node 20 here"; fi

test-python: setup  ## contracts, faults, HTTP, browser (ARGS="-k store" for a part)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: setup  ## the repository's own rules, each with the command that mends it
	@$(BIN)/python tools/check.py

docs: setup  ## the documentation, offline, into docs/_build/html
	@$(BIN)/python tools/docs.py

bench: setup  ## figures beside their peers, into bench/results
	@$(SETUP) bench && OMP_NUM_THREADS=1 $(BIN)/python bench/run.py $(ARGS)

lock:  ## make the lock files again (UPGRADE=1: newer versions)
	@$(SETUP) lock

vllm: setup  ## an environment for vLLM (about 3 GB); the workbench then serves with it
	@$(SETUP) vllm

wheel: setup  ## the installable package, with the Lab extension in it
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m hatchling build -t wheel && ls -l dist

clean:  ## remove what was built; environments and workspace/ stay
	@rm -rf dist build docs/_build docs/_src llmops/labextension jupyter_extension/lib jupyter_extension/lib-test \
	  jupyter_extension/tsconfig.tsbuildinfo .pytest_cache .ruff_cache .mypy_cache .hypothesis _proc .venv/.lab-stamp
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
