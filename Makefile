# `make demo` and `make test` prepare everything they need, once; a second call starts at once.
# The first Python of 3.11 to 3.13 that there is; make demo PYTHON=python3.13 takes another.
PYTHON ?= $(firstword $(foreach each,python3.11 python3.12 python3.13 python3,$(shell command -v $(each))))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
VERSION := import sys; print("%d.%d" % sys.version_info[:2])
HAS := $(shell $(BIN)/python -c '$(VERSION)' 2>/dev/null)
WANTED := $(if $(filter file,$(origin PYTHON)),$(HAS),$(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null))
# Stale: its Python is gone, or is another one than is asked for.
STALE := $(if $(HAS),$(filter-out $(HAS),$(filter 3.11 3.12 3.13,$(WANTED))),yes)
ifneq ($(and $(STALE),$(wildcard $(VENV))),)
$(shell rm -rf $(VENV))
endif
PORT ?= 5000
JOBS ?= 2

.PHONY: help install demo test test-fast test-slow test-ray lint types check bench startup hostile rooms table dashboard constraints clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { echo "error: Python 3.11, 3.12 or 3.13 is needed, and $(if $(PYTHON),$(PYTHON) is not one,there is none); install one, or call make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing the dependencies into $(VENV), once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --requirement pyproject.toml --extra train --extra dev --extra aws
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(READY)

install: $(READY) ## what is needed, into .venv; then: labels of a scan
	@echo "next: $(BIN)/python -m trainables.predict --student trainables/weights/synthetic_student --data YOUR_SCAN"

demo: $(READY) ## world, shards, teacher, distillation, label-free scores, pictures: everything from nothing
	@$(BIN)/python -m trainables.distill
	@echo "Dashboard: make dashboard"

test: test-fast test-slow test-ray ## the whole test suite

test-fast: $(READY) ## the tests of parts: no Ray, no whole commands; JOBS=2 at a time
	@$(BIN)/python -m pytest -m "not ray and not slow" -n $(JOBS) --dist loadfile

test-slow: $(READY) ## whole commands, worlds and servers without Ray, JOBS=2 at a time
	@$(BIN)/python -m pytest -m "slow and not ray" -n $(JOBS)

test-ray: $(READY) ## the tests that need Ray, one after another
	@$(BIN)/python -m pytest -m ray

lint: $(READY) ## style, and which way imports may point
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PYTHONPATH=platform $(BIN)/lint-imports --no-logo --no-cache

types: $(READY) ## static types
	@$(BIN)/mypy

check: lint types test ## everything CI runs

bench: $(READY) ## the figures that the README states
	@$(BIN)/python -m benchmarks.sample_cost
	@$(BIN)/python -m benchmarks.nuscenes_tables
	@$(BIN)/python -m benchmarks.spatial_temporal
	@$(BIN)/python -m benchmarks.grounding
	@$(BIN)/python -m benchmarks.sweep_overhead
	@$(BIN)/python -m benchmarks.scaling
	@$(BIN)/python -m benchmarks.survival
	@$(BIN)/python -m benchmarks.submitted
	@$(BIN)/python -m benchmarks.phrases
	@$(BIN)/python -m benchmarks.confidence
	@$(BIN)/python -m benchmarks.words

startup: $(READY) ## what --help, a mistyped option and a wrong path cost
	@$(BIN)/python -m benchmarks.startup

hostile: $(READY) ## bad inputs on every reader and command; failing ones are left in runs/hostile
	@$(BIN)/python -m benchmarks.hostile

rooms: $(READY) ## draw the rooms of the library into docs/pictures/rooms.svg
	@$(BIN)/python -m benchmarks.rooms

table: $(READY) ## every row of CLIP2Scene's table on the synthetic world, five seeds: hours; goes on where it stopped
	@$(BIN)/python -m benchmarks.clip2scene_table

dashboard: $(READY) ## MLflow's pages of all runs, with a link for each experiment; PORT=5000
	@PYTHONPATH=platform $(BIN)/python -m scenelift.tracking.dashboard --port $(PORT)

constraints: $(READY) ## write the versions for each Python and system into constraints.txt; those in it stay
	@$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header --python-version 3.11 --all-extras pyproject.toml --output-file constraints.txt
	@sed -i '1i # Every version that was tested together. Regenerate with `make constraints`.' constraints.txt

clean: ## remove the environment and the caches, keep data and runs
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
