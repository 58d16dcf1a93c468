# `make setup` needs python3 (3.11 or newer) with venv, and the network once. Everything else follows from it.
PYTHON ?= python3
BIN := .venv/bin
# Tests wait for servers much of the time, so one process more than there are cores pays; each has servers of its own.
TEST_PROCESSES ?= 3
# For podman: COMPOSE=podman-compose
COMPOSE ?= docker compose

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-elsewhere protections fuzz soak lint bench bench-peers bench-growth bench-ideas release recording up down lock clean

help: ## Show what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: .venv/ready ## Make .venv with everything in it, for the tests too

# Only what a lock file names, each file checked against its hash.
.venv/ready: requirements.lock pyproject.toml
	@"$(PYTHON)" make/install.py requirements.lock
	@touch .venv/demo $@

# The demo needs less than the tests, and its first result should not wait for the rest.
.venv/demo: requirements-demo.lock pyproject.toml
	@"$(PYTHON)" make/install.py requirements-demo.lock $(if $(findstring --direct,$(ARGS)),,--jars)
	@touch $@

demo: .venv/demo ## See it work from end to end; ARGS="--direct", "--json" or "--keep"
	@$(BIN)/widebeam demo $(ARGS)

test: setup ## Run the tests, against real servers; ARGS are for pytest
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder -m "not exhaustive" $(ARGS)

test-all: setup ## Run the slow exhaustive ones, too
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder $(ARGS)

# ARGS="later umask-077" for some conditions together, --whole for the whole suite.
test-elsewhere: setup ## Run a part of the tests as on another day, in other zones and languages, on a slow machine
	@$(BIN)/python -m tests.elsewhere $(ARGS)

protections: setup ## Switch off each protection in turn and show that its tests fail; ARGS are names of some
	$(BIN)/python -m tests.protections.prove $(ARGS)

# What it finds is kept in .hypothesis and tried first the next time; each find becomes an @example of its test.
fuzz: setup ## Hand readers and the configuration broken input for so long; SECONDS=600
	@end=$$(( $$(date +%s) + $(or $(SECONDS),600) )); \
	while $(BIN)/pytest -x tests/fuzz --hypothesis-profile=fuzz $(ARGS) || exit 1; [ $$(date +%s) -lt $$end ]; do :; done

soak: setup ## Storm a running pipeline with all faults for so long, then prove it; SECONDS=600, SEED to have it again
	@$(BIN)/python -m tests.faults.soak --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

lint: setup ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Without ARGS, a bench keeps its figures in docs/performance/ and writes docs/performance.md anew.
bench: setup ## Measure Widebeam stage by stage; ARGS="--only capture.single_row --rows 200000"
	@$(BIN)/python -m tests.bench.run $(or $(ARGS),--keep)

bench-peers: setup ## Measure Widebeam and its peers in one run; the last line says which bars hold
	@$(BIN)/python -m tests.bench.peers $(or $(ARGS),--keep)

bench-ideas: setup ## Measure ways that were not taken beside ours, one by one
	@$(BIN)/python -m tests.bench.ideas $(or $(ARGS),--keep)

# --large adds 50 M rows and 10,000 tables, and takes half an hour in all.
bench-growth: setup ## Measure what a row costs as rows, columns, entities and sinks grow
	@$(BIN)/python -m tests.bench.growth $(or $(ARGS),--keep)

release: .venv/demo ## Build the wheel and the source archive into dist/, and try the wheel in a fresh environment
	@$(BIN)/python make/release.py

recording: .venv/demo ## Record the terminal of the README anew, from a real run: docs/demo.svg
	@$(BIN)/python make/record.py

up: .secrets/postgres_password ## Build and start the services of docker-compose.yml; SINKS=4, CONNECTOR=ships
	$(COMPOSE) up --detach --build

# The password's file has to be there even to stop: Compose reads it with the rest.
down: .secrets/postgres_password ## Stop those services; data and password stay
	$(COMPOSE) down

# Whoever is in the container has to be able to read it, and has another user's number: the directory keeps others out.
.secrets/postgres_password:
	@mkdir -p -m 700 .secrets
	@"$(PYTHON)" -c 'import secrets; print(secrets.token_urlsafe(24))' > $@.new
	@chmod 644 $@.new && mv $@.new $@

lock: ## Choose all versions anew (needs uv)
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	  --all-extras --output-file requirements.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --constraint requirements.lock --output-file requirements-runtime.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --extra lab --extra build \
	  --constraint requirements.lock --output-file requirements-demo.lock pyproject.toml

clean: ## Remove all that was made here, fetched servers included
	rm -rf .venv .lab build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
