# What one does with this project. Needs Python 3.11 or newer, or PYTHON=/path/to/one; uses uv for speed when it is there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Checks and tests keep their files away from those of the developer's own server.
IN_EMPTY_DATA_DIR := dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && export DEERFLOW_DATA_DIR="$$dir" &&
# Tests are many processes: where Python is told to keep nothing that it compiles, each would do it all again.
COMPILING_ONCE := unset PYTHONDONTWRITEBYTECODE &&

.DEFAULT_GOAL := help
.PHONY: help install run worker test faults lint bench lock

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv with what requirements.lock names.

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is missing or older than Python 3.11; choose another with PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "No virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(BIN)/python --requirements requirements.lock; \
	else \
		{ $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; } && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --requirement requirements.lock; \
	fi
	@touch $@

run: install ## Start the server, with everything it needs, on http://127.0.0.1:8000 (HOST, PORT).
	@exec $(BIN)/python manage.py serve

worker: install ## Start a worker for the servers on the same DATABASE_URL.
	@exec $(BIN)/python manage.py worker

test: install ## Run the tests, on SQLite and on a real PostgreSQL; ARGS="-k name" for some of them, on SQLite.
	@$(IN_EMPTY_DATA_DIR) $(COMPILING_ONCE) $(BIN)/python -m pytest $(or $(ARGS),--numprocesses 4)
	@test -n "$(ARGS)" || \
		{ $(IN_EMPTY_DATA_DIR) $(COMPILING_ONCE) $(BIN)/python -m tests.on_postgres --quiet --numprocesses 2; }

faults: install ## Break running systems for a quarter of an hour while clients use them; ARGS="--help" for what else.
	@$(IN_EMPTY_DATA_DIR) $(BIN)/python -m tests.faults --scenario all --seconds 150 $(ARGS)

lint: install ## Check style, types, import arrows, migrations and deployment settings.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(IN_EMPTY_DATA_DIR) $(BIN)/mypy
	$(BIN)/lint-imports
	@$(IN_EMPTY_DATA_DIR) $(BIN)/python manage.py makemigrations --check --dry-run
	@$(IN_EMPTY_DATA_DIR) export DEERFLOW_ENV=production ALLOWED_HOSTS=agents.example.org && \
		export SECRET_KEY="$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))')" && \
		$(BIN)/python manage.py check --deploy --fail-level WARNING

bench: install ## Measure; see bench/.
	@$(BIN)/python bench/run.py $(ARGS)

lock: ## Make requirements.lock anew from pyproject.toml (needs uv).
	@command -v uv >/dev/null 2>&1 || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --group dev pyproject.toml \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file requirements.lock
