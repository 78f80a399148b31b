# make setup | demo | test | coverage | lint | format | overhead | throughput | probe-cost | kills | clean
# PYTHON=python3.12 picks another interpreter for the first set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test coverage lint format overhead throughput probe-cost kills clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, got " + sys.version.split()[0] + "; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Runs that are there already are not run again.
demo: setup
	$(BIN)/bench run +experiment=demo
	@$(BIN)/bench figures results/runs/demo --output results/figures > /dev/null
	@$(BIN)/bench table results/runs/demo

test: lint
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# The same with the lines that no test reaches; a third slower.
coverage: setup
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --cov

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

overhead: setup
	$(BIN)/python benchmarks/overhead.py

throughput: setup
	$(BIN)/python benchmarks/throughput.py

probe-cost: setup
	$(BIN)/python benchmarks/probes.py

# A sweep killed 50 times at random moments, against an undisturbed one.
kills: setup
	$(BIN)/python -m tests.kill_sweep --kills 50

clean:
	rm -rf $(VENV) .coverage .pytest_cache .ruff_cache .import_linter_cache
