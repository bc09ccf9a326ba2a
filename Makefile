# The commands of daily work. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test test-quick lint format bench screenshots translations lock clean servers vendor-is-missing
.NOTPARALLEL:

BIN := .venv/bin
UV := uv==0.13.9
COMPILE := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-strip-extras
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -ge 2 ] || n=2; [ $$n -le 4 ] || n=4; echo $$n)
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: .venv/.runtime .venv/.editable ## install what the product needs into .venv

setup-dev: .venv/.dev .venv/.editable .cache/commonmark-spec/spec.txt ## the same, and what tests, linters and benchmarks need

run: setup ## start the product; HOST, PORT and every other setting come from the environment or .env
	@exec $(BIN)/gunicorn

test: setup-dev servers ## every test; missing servers are installed with apt where that is allowed
	@$(PYTEST)

test-quick: setup-dev ## the tests that need no server, no browser and little time
	@$(PYTEST) -m "not (postgresql or redis or nginx or browser or systemd or slow)"

lint: setup-dev ## ruff and mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: setup-dev ## put the code into its form
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: setup-dev ## measure; how and what is in bench/
	@$(BIN)/python -m bench

screenshots: setup-dev servers ## take pictures of every page and state, into .cache/screenshots
	@$(BIN)/python -m tests.browser.screenshots

translations: setup-dev ## bring the catalogues up to date with the texts in source and templates
	@$(BIN)/pybabel -q extract -F babel.cfg -k _l -o chatapp/kernel/translations/messages.pot --no-location --no-wrap --sort-output --omit-header .
	@$(BIN)/pybabel -q update -i chatapp/kernel/translations/messages.pot -d chatapp/kernel/translations --no-wrap --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date

lock: setup-dev ## choose newer packages and write the three locks
	@$(BIN)/pip install --quiet $(UV)
	@$(BIN)/uv $(COMPILE) --upgrade pyproject.toml -o requirements.lock
	@$(BIN)/uv $(COMPILE) --upgrade --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	@npm install --package-lock-only --silent

clean: ## remove what was installed and made, not the data in instance/
	@rm -rf .venv static/vendor .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -prune -exec rm -rf {} +

# Setting up. Each step leaves a stamp in .venv and is done again when what it came from has changed.

.venv/.made:
	@for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && found=$$python && break; done; \
	if [ -z "$$found" ] && [ -n "$(PYTHON)" ]; then echo "PYTHON=$(PYTHON) is no Python 3.11 or newer."; exit 1; fi; \
	if [ -z "$$found" ]; then echo "Python 3.11 or newer is needed (Debian: apt install python3 python3-venv)."; exit 1; fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found lacks venv (Debian: apt install python3-venv)."; exit 1; fi; \
	echo "Making .venv with $$($$found --version)"; $$found -m venv .venv
	@touch $@

.venv/.runtime: requirements.lock | .venv/.made
	@echo "Installing the packages of requirements.lock"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# This lock holds all of the other one as well.
.venv/.dev: requirements-dev.lock requirements.lock | .venv/.made
	@echo "Installing the packages of requirements-dev.lock"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch .venv/.runtime $@

# Installing the product itself also fetches static/vendor (hatch_build.py).
.venv/.editable: pyproject.toml hatch_build.py package-lock.json | .venv/.made
.venv/.editable: $(if $(wildcard static/vendor/manifest.json),,vendor-is-missing)
	@echo "Installing chatapp and fetching its scripts"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -e .
	@touch $@

vendor-is-missing:

# Without it one group of tests is left out, and says so.
.cache/commonmark-spec/spec.txt: package-lock.json | .venv/.editable
	@echo "Fetching what the tests read"
	@rm -f $@
	@DEVELOPMENT=1 $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -e . || echo "It could not be fetched."

# Debian starts a server that is installed; the tests use none of those, only the programs.
servers: setup-dev
	@missing=$$($(BIN)/python tests/servers.py missing); [ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi; \
	if ! command -v apt-get >/dev/null || ! $$sudo true 2>/dev/null; then \
	  echo "apt may not be used here. Left out are the tests that need: $$missing"; exit 0; fi; \
	echo "Installing for the tests: $$missing"; \
	{ $$sudo apt-get -qq update && $$sudo env DEBIAN_FRONTEND=noninteractive \
	  apt-get -qq -y --no-install-recommends install $$missing; } >/dev/null || echo "apt could not install them."
