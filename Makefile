# Coterie. `make demo` and `make test` are all one needs; both need Python 3.11 or 3.12 and nothing else.

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
LOCK := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options
# Kernels with bounds checks have a cache of their own: Numba's cache does not tell the two kinds apart.
CHECKED := NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CURDIR)/.cache/numba-checked

# A process for every processor, at most four, each with servers of its own; -n 0 in TESTS runs them one by one.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench example lock clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: .venv/installed ## Make .venv with the locked packages and the command coterie

demo: setup ## Run a made-up shop through a worker
	@$(BIN)/coterie demo

test: .venv/installed-dev ## Run all tests (kernels with bounds checks)
	@$(CHECKED) $(BIN)/python -m pytest $(PARALLEL) $(TESTS)

check: .venv/installed-dev ## Check format, style, types and the direction of imports
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: .venv/installed-dev ## Measure
	@$(BIN)/python -m benchmarks

example: setup ## Write coterie.example.toml anew from the settings
	@$(BIN)/python -m flows.example_settings > coterie.example.toml

lock: .venv/installed-dev ## Lock the packages anew, within the bounds of pyproject.toml
	@$(LOCK) --upgrade pyproject.toml --output-file requirements.txt
	@$(LOCK) --upgrade --extra dev --constraint requirements.txt pyproject.toml --output-file requirements-dev.txt
	@sed -i '/^# The following packages are considered/d' requirements.txt requirements-dev.txt

clean: ## Remove .venv and all caches
	@rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@for python in $(PYTHON) python3 python3.12 python3.11; do \
		if "$$python" -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; \
		then exec "$$python" -m venv .venv; fi; \
	done; \
	echo "make: no Python 3.11 or 3.12 with venv found (python3 is: $$(python3 --version 2>&1)); give one: make PYTHON=/path/to/python3.12" >&2; \
	exit 1

.venv/installed: requirements.txt pyproject.toml | .venv/bin/python
	@echo "Installing the locked packages into .venv (about a minute, once)" >&2
	@$(PIP) --require-hashes --requirement requirements.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	@echo "Installing the locked development packages into .venv (once)" >&2
	@$(PIP) --require-hashes --requirement requirements-dev.txt
	@touch $@
