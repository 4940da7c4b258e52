# Commands that do all their own set-up on a machine with Python 3.11 or newer.
PYTHON ?= python3
DEMO_BUDGET ?= 60s
BIN := .venv/bin
# Modules are compiled when they are first imported, and kept so: most of torch's never are.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/pip install --quiet --no-compile -c constraints.txt
ANYWHERE := not gpu and not network and not cluster

.PHONY: demo test check test-fast test-slow test-long test-cluster coverage docs site dist benchmarks clean

demo: .venv/.installed  ## train RealNVP and Glow for 60 s each, print their table, write the board
	$(BIN)/flowbench run --models realnvp,glow --budget $(DEMO_BUDGET)
	$(BIN)/flowbench leaderboard

test: .venv/.installed-dev check  ## static checks, then all tests but the long ones
	$(BIN)/pytest -m "not long and $(ANYWHERE)"

check: .venv/.installed-dev  ## format, lint, spelling, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	PYTHONPATH=plugins/flowbench-families/src $(BIN)/lint-imports --no-cache --config plugins/flowbench-families/pyproject.toml

test-fast: .venv/.installed-dev  ## what a bare pytest runs
	$(BIN)/pytest -m "not slow and $(ANYWHERE)"

test-slow: .venv/.installed-dev  ## the rest of what make test runs
	$(BIN)/pytest -m "slow and not long and $(ANYWHERE)"

test-long: .venv/.installed-dev  ## the longest: trained models' contracts and mutants, campaigns of kills, the documentation's walks
	$(BIN)/pytest --timeout=7200 -m "long and $(ANYWHERE)"

test-cluster: .venv/.installed-dev  ## jobs on a SLURM and a Ray that are started here; the first needs Debian's packages
	$(PIP) -e '.[ray]'
	$(BIN)/pytest -m cluster -n 0

coverage: .venv/.installed-dev  ## branch coverage of all tests, workers included; build/coverage/index.html
	$(BIN)/pytest -m "$(ANYWHERE)" --cov --cov-report=term:skip-covered --cov-report=html

docs: .venv/.installed-dev  ## the documentation site, in build/site
	$(BIN)/mkdocs build --strict

site: docs  ## the documentation and the boards as one site, in build/site
	cp -R leaderboards build/site/leaderboards

dist: .venv/.installed-dev  ## wheel and sdist in build/dist; the wheel is built from the sdist
	rm -rf build/dist build/dist-venv
	$(BIN)/python -m build --outdir build/dist .
	$(BIN)/twine check --strict build/dist/*
	$(PYTHON) -m venv build/dist-venv
	build/dist-venv/bin/pip install --quiet -c constraints.txt build/dist/*.whl
	cd build && dist-venv/bin/flowbench --version && dist-venv/bin/flowbench list suites
	cd build && dist-venv/bin/flowbench leaderboard denseflow-1 --format md --out dist-venv/boards

benchmarks: .venv/.installed-dev  ## ratios against named baselines, appended to tests/benchmarks/history.csv
	$(BIN)/python -m tests.benchmarks.record

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[dev,docs]'
	@touch .venv/.installed $@

clean:
	rm -rf .venv build
