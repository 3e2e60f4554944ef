# Targets call the programs that do the work; `make help` lists them. Newcomers need only `make run` and `make test`.
PYTHON ?= python3
# The first Python makes .venv. Another version, by `make PYTHON=…`, gets an environment beside it, such as .venv-3.13.
VENV := .venv
ifeq ($(origin PYTHON),command line)
ifneq ($(wildcard .venv/bin/python),)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := $(if $(wildcard .venv/lib/python$(VERSION)),.venv,.venv-$(VERSION))
endif
endif
BIN := $(VENV)/bin
INSTALL = @$(BIN)/python -m project.local.install
PIP_COMPILE = $(BIN)/uv pip compile pyproject.toml --generate-hashes --universal --python-version 3.11 --no-header --quiet

.PHONY: bench bench-all run help test test-heavy test-unit compat contract chaos demo lint format messages requirements clean install install-local

run: $(VENV)/local ## everything in this terminal: private RabbitMQ, database, demo user, web, worker
	@exec $(BIN)/python manage.py up

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

test: install ## what a change has to pass: unit tests, real servers, a browser, the main faults
	$(BIN)/pytest -m "not heavy" -n 2 --dist loadgroup

test-heavy: install ## all other tests: every fault, and whole stacks that start and stop
	$(BIN)/pytest -m heavy

test-unit: install ## unit tests, in seconds: no server, no network
	$(BIN)/pytest -m "not integration and not browser and not heavy"

compat: install ## Dramatiq's own tests with the outbox's brokers in place of its own; part of test-heavy
	$(BIN)/pytest tests/compat

contract: install ## a linter, and two generated clients, against the OpenAPI schema; needs node; part of test-heavy
	$(BIN)/pytest tests/contract

chaos: install ## kill, freeze, cut and wipe everything for half an hour, and print what was lost
	CHAOS=long $(BIN)/pytest tests/chaos -p no:randomly

bench: $(VENV)/bench ## README's figures, beside alternatives, on private servers: ten minutes
	$(BIN)/python -m bench

bench-all: $(VENV)/bench ## the same and the rest: other peers, the relay, memory, and the curves of docs/scale
	$(BIN)/python -m bench --all

demo: $(VENV)/local ## the lesson's exercises, walked over real HTTP
	$(BIN)/python manage.py demo

lint: install ## exactly what CI checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python -m project.releases.migration_rules
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_hex(32))') DATABASE_URL=sqlite://:memory: RABBITMQ_URL=amqp://not:used@unused/ ALLOWED_HOSTS=unused \
	  $(BIN)/python manage.py check --deploy --fail-level WARNING --settings settings.production

format: install ## format the code as lint demands
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

messages: install ## collect and compile the texts to translate (needs gettext)
	$(BIN)/python manage.py makemessages -l uz -l en -l ru --no-location --no-wrap --no-obsolete -i '.venv*' -i var
	$(BIN)/python manage.py compilemessages -i '.venv*' -i var

requirements: install ## pin what pyproject.toml asks for, with hashes
	$(PIP_COMPILE) --output-file requirements/runtime.txt
	$(PIP_COMPILE) --group local --constraints requirements/runtime.txt --output-file requirements/local.txt
	$(PIP_COMPILE) --group dev --constraints requirements/local.txt --output-file requirements/development.txt
	$(PIP_COMPILE) --group bench --constraints requirements/development.txt --output-file requirements/bench.txt

clean: ## remove the data of `make run`: database, RabbitMQ's data, logs, caches
	@! command -v flock >/dev/null || [ ! -e var/up.lock ] || flock --nonblock var/up.lock true || \
	  { echo "Vazifa is running. Stop it first: Ctrl-C in the terminal of make run"; exit 1; }
	rm -rf var debug.log

install: $(VENV)/development ## .venv with the packages for running, testing and checking the service

install-local: $(VENV)/local ## .venv with the packages for running the service

# Created again only if its Python does not start: it is missing, incomplete, or a link to a Python that was removed.
$(VENV)/local: requirements/local.txt $(BIN)/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null 2>&1 || { \
	  ! $(BIN)/python -c pass 2>/dev/null || \
	    { echo "$(VENV) has no pip, and none can be added: remove it, and run make again"; exit 1; }; \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or later is needed, and $(PYTHON) is not one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }; \
	  $(PYTHON) -c 'import ensurepip, venv' || \
	    { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }; \
	  echo "Making $(VENV) with $$($(PYTHON) --version) …"; \
	  $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing the packages for running the service into $(VENV), once …"
	$(INSTALL) $<
	@touch $@

# If it is missing or a link to a Python that was removed, the packages that were installed for it are out of date.
$(BIN)/python:

$(VENV)/development: requirements/development.txt $(VENV)/local
	@echo "Adding the packages for tests and checks to $(VENV), once …"
	$(INSTALL) $<
	@touch $@

$(VENV)/bench: requirements/bench.txt $(VENV)/development
	@echo "Adding the packages for benchmarks to $(VENV), once …"
	$(INSTALL) $<
	@touch $@
