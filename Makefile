# Two commands do everything on a fresh machine with Python 3.11 or newer, make and pip:
#   make demo    set up, deploy an example with real PyTorch models, ask them, show the logs, take it down
#   make test    every check and the whole test suite; what CI runs
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: help demo test check unit gate bench bench-ray clean

help:
	@sed -n 's/^#   //p' Makefile

$(VENV)/.torch: pyproject.toml constraints.txt
	@echo "==> setting up $(VENV) (first run: some minutes for PyTorch)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable '.[torch]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch
	@echo "==> adding the development tools"
	@$(PIP) --editable '.[torch,dev]'
	@touch $@

demo: $(VENV)/.torch
	@$(BIN)/python examples/torch_models/demo.py

test: check gate unit

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# the brain and the wire codec: every branch
gate: $(VENV)/.dev
	$(BIN)/python -m pytest tests/core tests/link --cov=runtime.core --cov=runtime.link.frames --cov-branch --cov-report=
	$(BIN)/coverage report --skip-covered --show-missing --fail-under=100

unit: $(VENV)/.dev
	$(BIN)/python -m pytest --ignore=tests/core --ignore=tests/link -n 2 --dist loadfile

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.http

bench-ray: $(VENV)/.dev
	$(BIN)/python -m benchmarks.http --ray

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
