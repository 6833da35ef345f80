# Every command works as the first one on a fresh machine: it makes .venv, installs from the lock, and runs.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
export VIRTUAL_ENV := $(CURDIR)/.venv
# Compiled modules are kept, whatever the environment says: without them each start of Python compiles torch and timm
# anew, which takes twice as long as importing them.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-ray check bench docs

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## make .venv and install the locked packages and visionscope itself

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $$(grep '^uv==' requirements.lock)
	$(BIN)/uv pip install --quiet -r requirements.lock
	$(BIN)/uv pip install --quiet --no-deps -e .
	@touch $(STAMP)

demo: $(STAMP)  ## look inside three small trained networks, write a report (a minute or two)
	$(BIN)/visionscope demo

test: $(STAMP)  ## the fast tests, in two processes of one thread each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=10

test-slow: $(STAMP)  ## every model family, kill tests, real data: an hour or so
	$(BIN)/python -m pytest -m slow --durations=20

test-ray: $(STAMP)  ## a Ray cluster of two nodes on this machine: minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray --durations=20

check: $(STAMP)  ## format, lint, types, import layers, doctests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest --quiet --doctest-modules src

bench: $(STAMP)  ## measure against the peers; prints tables, writes benchmarks/results/NAME.json
	$(BIN)/python -m benchmarks

docs: $(STAMP)  ## build the documentation into docs/_build
	$(BIN)/sphinx-build -W --keep-going --quiet -b html docs docs/_build
	@echo docs/_build/index.html
