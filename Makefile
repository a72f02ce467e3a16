# Everything a newcomer needs: `make run`, then `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
NATIVE := setup.py $(wildcard $(foreach kind,pyx hpp,$(foreach room,data/kernels data/storage data/dataset/kernels collect/native,qlib/$(room)/*.$(kind))) qlib/backtest/holdings.pyx qlib/contrib/strategy/ranking.pyx qlib/*/*/machine_*.cpp qlib/data/kernels/sorted.cpp)
BENCH  ?= engine road
SAMPLE ?= $(HOME)/.qlib/qlib_data/sample_data
WORKERS ?= 2
# Compiled modules are kept, whatever the environment says: every process of a test would compile them again.
export PYTHONDONTWRITEBYTECODE =
# Tests write many small files and wait for each of them to be on the disk: where memory has the room, they lie there.
MEMORY := $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 2000000 {print "/dev/shm"}')
TESTS   = -n $(WORKERS) --dist loadfile $(if $(MEMORY),-o tmp_path_retention_policy=failed)
# What says nothing about the version of a package: the command line, collecting and venues (HTTP), docs and sources,
# the parser, compiled kernels, locks, and which deviation explains which golden.
NOT_OF_PACKAGES := unit/cli unit/collect unit/test_* unit/*/test_okx* unit/*/test_fake* unit/*/test_ccxt* unit/*/test_coin* \
	unit/*/test_collector* unit/crypto/test_top.py unit/crypto/test_universe_cli.py unit/crypto/test_sample_planted.py \
	unit/data/test_expression_grammar.py unit/data/test_kernels_* unit/data/test_store_arena.py unit/utils/test_locks.py \
	golden/test_golden_backtest_deviations.py

.DEFAULT_GOAL := help
.PHONY: help install run test proof test-lowest lint cov bench docs lock clean

help:  ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## Make .venv with the pinned packages and build the extension

$(STAMP): requirements.txt requirements-dev.txt pyproject.toml $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit("qlib-crypto needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

run: $(STAMP)  ## Write the synthetic sample market, train, backtest, and show where the report is
	$(BIN)/python scripts/get_data.py sample --target_dir $(SAMPLE) --exists_skip
	$(BIN)/qrun config/workflow.json

test: $(STAMP)  ## Run every test
	$(if $(MEMORY),TMPDIR=$(MEMORY)) $(BIN)/python -m pytest $(TESTS)

proof: $(STAMP)  ## Run the proofs in full: the parser fuzzed, a million rows exactly, all operators blind to the future
	QLIB_PROOF=1 $(BIN)/python -m pytest -n $(WORKERS) -rP --timeout=3600 --durations=0 --durations-min=5 tests/oracle

test-lowest:  ## Run the tests of data, models, back-tests and runs on the oldest packages that are allowed (pandas 2.2)
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements-lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	QLIB_EXAMPLES=10 $(if $(MEMORY),TMPDIR=$(MEMORY)) .venv-lowest/bin/python -m pytest $(TESTS) -m "not browser" $(NOT_OF_PACKAGES:%='--ignore-glob=tests/%') tests/unit tests/golden tests/compat

lint: $(STAMP)  ## ruff, mypy, the import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

cov: $(STAMP)  ## Test coverage as a page: htmlcov/index.html
	$(BIN)/python -m pytest $(TESTS) --cov --cov-report=html --cov-report=term:skip-covered

bench: $(STAMP)  ## Time engine and road; beside a peer: make bench PEER=/path/to/python; one of them: BENCH=engine
	@for name in $(BENCH); do $(BIN)/python benchmarks/$$name.py $(if $(PEER),--peer $(PEER)) $(ARGS) || exit 1; done

docs: $(STAMP)  ## Build docs/_build/html; a warning is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

lock:  ## Export the pinned requirement files anew (needs uv)
	uv pip compile -q --no-header --python-version 3.11 --extra dev --extra distributed pyproject.toml -o requirements-dev.txt
	uv pip compile -q --no-header --python-version 3.11 pyproject.toml -c requirements-dev.txt -o requirements.txt
	uv pip compile -q --no-header --python-version 3.11 --extra docs pyproject.toml -c requirements-dev.txt -o requirements-docs.txt
	uv pip compile -q --no-header --python-version 3.11 --extra dev --extra distributed --resolution lowest-direct pyproject.toml -o requirements-lowest.txt

clean:  ## Remove what was built (the environments too)
	rm -rf $(VENV) .venv-lowest build dist htmlcov .coverage docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find qlib -name '*.so' -delete
	find qlib -name '*.pyx' | sed 's/pyx$$//' | xargs -I@ rm -f @c @cpp
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
