# `make demo` and `make test` are all a fresh machine needs: Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: demo test test-all check docs bench bench-quick clean help

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/ -/'

demo: .venv/demo.stamp  ## find broken solar cells: probe and fine-tuned model against the published results
	$(BIN)/headstart demo

test: .venv/dev.stamp  ## the tests
	$(BIN)/python -m pytest

test-all: .venv/dev.stamp  ## the tests, slow ones included
	$(BIN)/python -m pytest -m "slow or not slow"

check: .venv/dev.stamp  ## style, types, import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/dev.stamp  ## regenerate the generated parts of docs/
	$(BIN)/python docs/generate.py

bench: .venv/bench.stamp  ## the published figures, measured here, beside other tools; takes hours, goes on if stopped
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/report.py

bench-quick: .venv/bench.stamp  ## headstart beside other tools on one small data set, one seed
	$(BIN)/python benchmarks/run.py peers-quick
	$(BIN)/python benchmarks/report.py --quick

clean:  ## remove the environment and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing headstart with PyTorch, once: a minute or two, several GB"
	$(PIP) -e ".[demo]"
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing headstart with PyTorch and the test tools, once: a minute or two, several GB"
	$(PIP) -e ".[dev]"
	@touch $@ .venv/demo.stamp

.venv/bench.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing headstart with PyTorch and the tools that it is measured against, once: several GB"
	$(PIP) -e ".[bench]"
	@touch $@ .venv/demo.stamp
