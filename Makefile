# Every target does all of its own set-up; nothing has to be activated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
CHECKS := $(VENV)/.checks-installed

.PHONY: help install demo test test-slow bench lint format docs notebook clean

help:
	@echo "make install    .venv with the pinned requirements (again: nothing to do)"
	@echo "make demo       extract features and train uniform and MMRNS on PictoKG; prints the table"
	@echo "make test       linter, types, import rules and the fast tests"
	@echo "make test-slow  the tests that take longer"
	@echo "make bench      step and evaluation against others; fails where a ratio fell behind results/performance.json"
	@echo "make docs       regenerate the generated parts of docs and README.md"
	@echo "make notebook   run the notebooks again and keep their outputs"

install: $(RUNTIME)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mmrns needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(RUNTIME): requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

$(CHECKS): requirements-dev.txt $(RUNTIME)
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	@touch $@

demo: $(RUNTIME)
	$(BIN)/python scripts/demo.py

lint: $(CHECKS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(CHECKS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# One process and one thread each: the tests are many small steps, which two threads only slow down.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(CHECKS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow

bench: $(CHECKS)
	$(BIN)/mmrns benchmark step --threads 1 --against
	$(BIN)/mmrns benchmark evaluation --threads 1 --against

docs: $(RUNTIME)
	$(BIN)/python scripts/build_docs.py

notebook: $(CHECKS)
	$(BIN)/python scripts/run_notebook.py

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
