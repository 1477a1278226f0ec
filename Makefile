# make quickstart   set everything up and run the main job, small, offline
# make test         set everything up and run lint and all tests
# make lint | bench | test-full | clean

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# The CPU build of torch is 10 times smaller; elsewhere PyPI's own build is the right one.
TORCH_INDEX := https://download.pytorch.org/whl/cpu

# Without the peers; the head of each benchmark says how to measure them beside.
BENCHMARKS := repository_graphs formula_recall code_recall encoding_swap mathml_round_trip content_quality \
	extraction_speed fuzzing fetching components near_duplicates contamination plan mining packing loading main_job

.PHONY: quickstart test lint bench test-full clean
.DELETE_ON_ERROR:

quickstart: $(VENV)/.installed
	$(BIN)/lode quickstart

test: $(VENV)/.test lint
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-full: $(VENV)/.test lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

bench: $(VENV)/.bench
	for each in $(BENCHMARKS); do echo "== $$each" && $(BIN)/python -m benchmarks.$$each || exit 1; done

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	|| { echo "Lode needs Python 3.11 or 3.12: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# torch first and by itself: on Linux without an NVIDIA driver only a CPU build will do, from wherever pip finds one.
$(VENV)/.torch: $(VENV)/.python
	@if [ "$$(uname)" = Linux ] && [ ! -e /proc/driver/nvidia/version ]; then \
	  $(BIN)/pip install -q 'torch==2.13.0+cpu' -c constraints.txt 2>/dev/null \
	  || $(BIN)/pip install -q 'torch==2.13.0+cpu' -c constraints.txt --extra-index-url $(TORCH_INDEX) \
	  || { echo "No CPU build of torch found; install one: $(BIN)/pip install torch --index-url $(TORCH_INDEX)"; exit 1; }; \
	else $(BIN)/pip install -q 'torch>=2.11,<2.14' -c constraints.txt; fi
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	@echo "Installing Lode into $(VENV) (a few minutes the first time) ..."
	$(BIN)/pip install -q -c constraints.txt -e .
	@$(BIN)/python -m jobs.java >/dev/null || $(BIN)/pip install -q -c constraints.txt -e '.[java]'
	touch $@

$(VENV)/.test: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
