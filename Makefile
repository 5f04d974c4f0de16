# Everything builds .venv by itself from the hash-locked requirement files; only Python 3.11 or newer and make are needed.

.DEFAULT_GOAL := help
.PHONY: help run test matrix check bench lock clean

CANDIDATES := python3.13 python3.14 python3.12 python3.11 python3 python
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
# The first that runs and is new enough: a name on the PATH may be a shim for a version that is not there.
PYTHON ?= $(shell for python in $(CANDIDATES); do $$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
READY := .venv/ready

help: ## Show what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

run: $(READY) ## Start everything on this machine and say where to click
	@exec $(BIN)/python -m rmindr dev

# Most tests wait for other processes: four at a time keep two processors busy. One by one, as a debugger needs it: TESTERS=0.
TESTERS ?= 4

test: $(READY) ## Run all tests, e.g. ARGS="-k journey -x"
	@$(BIN)/python -m pytest -n $(TESTERS) --dist worksteal $(ARGS)

matrix: $(READY) ## Run the queue's tests on each kind of server: plain, unix socket, TLS, cluster
	@for server in plain unix tls cluster; do \
		echo "QUEUE_SERVER=$$server"; \
		QUEUE_SERVER=$$server $(BIN)/python -m pytest -q -n $(TESTERS) --dist worksteal tests/queue $(ARGS) || exit 1; \
	done

check: $(READY) ## Check style, types and the layering of imports
	@$(BIN)/ruff format --check rmindr tests benchmarks
	@$(BIN)/ruff check rmindr tests benchmarks
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(READY) ## Measure, and print a table; ARGS="--quick" for a short run
	@$(BIN)/python -m benchmarks $(ARGS)

lock: ## Choose the versions of all dependencies anew (with hashes, for Python 3.11 to 3.14)
	@test -x .venv-lock/bin/uv || { $(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv==0.13.9; }
	@for target in "requirements.txt" "requirements-dev.txt --group dev"; do \
		.venv-lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
			--custom-compile-command "make lock" $(UPGRADE) -o $$target || exit 1; \
	done

clean: ## Remove the environment; reminders in .rmindr stay
	@rm -rf .venv .venv-lock

$(READY): requirements-dev.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "rmindr needs Python 3.11 or newer, and none of these is one: $(CANDIDATES)." >&2; exit 1; fi
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "This Python lacks its venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Building .venv with $$($(PYTHON) --version): once, about a minute …"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@echo "  fetching and checking the dependencies …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)
	@echo "  done."
