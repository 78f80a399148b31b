# make setup | demo | results | test | test-long | test-gpu | test-cluster | docs | numerics | coverage | lint | format | bench | throughput | probe-cost | reading | page-cost | mirroring | gpu-speed | kills | clean
# PYTHON=python3.12 picks another interpreter for the first set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

PEERS := benchmarks/.venv
CLUSTER := tests/cluster/.venv
DOCS := docs/.venv

.PHONY: setup demo results test test-long test-gpu test-cluster docs numerics coverage lint format bench throughput probe-cost reading page-cost mirroring gpu-speed kills clean

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
	@echo 'figures: results/figures'

# The pages of results with their tables and figures, and one to open in a browser, anew from the records beside them;
# trains nothing.
results: setup
	$(BIN)/bench report README.md
	$(BIN)/bench report docs/ten_minutes.md
	$(BIN)/bench report results/README.md
	$(BIN)/bench report results/sequences/README.md
	$(BIN)/bench report results/tuning/README.md
	$(BIN)/bench page results/published/runs results/sequences/runs results/tuning/runs results/demo/runs --title 'rnn-bench: published runs' --output results/page.html

# Threads sleep while they wait, since the tests of two workers share the cores.
# Compiled modules are kept, even where the environment says no: dozens of processes import them.
test: lint
	PYTHONDONTWRITEBYTECODE= OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses auto --dist worksteal

# What `make test` leaves out because it takes minutes; CONTRIBUTING says when it is worth it.
test-long: setup
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses auto --dist worksteal -o faulthandler_timeout=3600 -m 'long_run and not gpu'

# What needs an NVIDIA GPU; skipped where there is none.
test-gpu: setup
	$(BIN)/python -m pytest -o faulthandler_timeout=3600 -m gpu

# SLURM as two nodes on this machine, and Ray, in an environment of its own; skipped, with a word, where that cannot be.
test-cluster: setup $(CLUSTER)/.ready
	OMP_WAIT_POLICY=passive $(CLUSTER)/bin/python -m pytest -o faulthandler_timeout=3600 -m cluster -rs --basetemp=tests/cluster/.work --durations=0 tests/cluster

# It sees what the first environment has, and adds the launchers.
$(CLUSTER)/.ready: pyproject.toml constraints.txt $(READY)
	$(BIN)/python -m venv --clear $(CLUSTER)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$($(CLUSTER)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/first.pth"
	$(CLUSTER)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'submitit>=1.5' 'ray>=2.50'
	@touch $@

# The documentation as pages, in docs/_build/html; the code on them runs, and a warning is an error.
docs: setup $(DOCS)/.ready
	$(DOCS)/bin/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

$(DOCS)/.ready: pyproject.toml constraints.txt $(READY)
	$(BIN)/python -m venv --clear $(DOCS)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$($(DOCS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/first.pth"
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'furo>=2025.9' 'myst-nb>=1.3' 'sphinx>=8.2'
	@touch $@

# `make test` with the lines that no test reaches; a third slower.
coverage: setup
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --cov

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

# Code that has changed and computes the same is taken under its old version; runs keep their ids then.
numerics: setup
	$(BIN)/python -m tests.numerics

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Against plain PyTorch, JAX and Keras, which get an environment of their own; writes benchmarks/RESULTS.md.
bench: setup $(PEERS)/.ready
	$(BIN)/python -m benchmarks

$(PEERS)/.ready: benchmarks/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	@touch $@

throughput: setup
	$(BIN)/python -m benchmarks.throughput

probe-cost: setup
	$(BIN)/python -m benchmarks.probes

reading: setup
	$(BIN)/python -m benchmarks.reading

# Needs Debian's chromium, or another one under that name.
page-cost: setup
	$(BIN)/python -m benchmarks.page

mirroring: setup
	$(BIN)/python -m benchmarks.mirroring

# Needs an NVIDIA GPU.
gpu-speed: setup
	$(BIN)/python -m benchmarks.gpu

# A sweep killed 50 times at random moments, against an undisturbed one.
kills: setup
	$(BIN)/python -m tests.kill_sweep --kills 50

clean:
	rm -rf $(VENV) $(PEERS) $(CLUSTER) $(DOCS) docs/_build tests/cluster/.slurm tests/cluster/.work .coverage .pytest_cache .ruff_cache .import_linter_cache
