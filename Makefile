# The commands to remember: demo, test, check. Each sets up .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Waiting OpenMP threads sleep instead of spinning: two torch processes else starve one another.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test test-slow check format clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: $(READY)  ## the whole pipeline on a small procedural world
	$(BIN)/terraloom demo --out demo

test: $(READY)  ## everything that runs in seconds to a few minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(READY)  ## the whole pipeline, killed and resumed; long trainings
	$(BIN)/python -m pytest -m slow

check: $(READY)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
