# Two commands that do all their own set-up on a machine with Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check docs benchmarks clean

demo: .venv/.installed  ## train RealNVP and Glow for 60 s each, print their table, write the board
	$(BIN)/flowbench run --models realnvp,glow
	$(BIN)/flowbench leaderboard

test: .venv/.installed-dev check  ## static checks, then all tests that need no GPU and no network
	$(BIN)/pytest -m "not gpu and not network"

docs: .venv/.installed-dev  ## the documentation site, in build/site
	$(BIN)/mkdocs build --strict

check: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

benchmarks: .venv/.installed-dev  ## ratios against named baselines, appended to tests/benchmarks/history.csv
	$(BIN)/python -m tests.benchmarks.record

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,docs]'
	@touch $@

clean:
	rm -rf .venv
