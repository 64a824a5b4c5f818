# make demo   the whole chain on built-in data; sets up .venv first, where that is not done yet
# make test   format, lint, types and tests; what CI runs
# Needs Python 3.11 or later with venv. PYTHON=python3.12 picks another one; ARGS goes to phiray.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.phiray-ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: demo test setup clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	@start=$$(date +%s); $(BIN)/phiray demo $(ARGS); code=$$?; \
	echo "set-up: $$(cat $(STAMP)) s when it was done, chain: $$(($$(date +%s) - start)) s"; exit $$code

test: $(STAMP)
	@start=$$(date +%s); \
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/python -m pytest -n 2; \
	code=$$?; \
	echo "set-up: $$(cat $(STAMP)) s when it was done, test: $$(($$(date +%s) - start)) s"; exit $$code

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "$(PYTHON) is too old: phiray needs Python 3.11. Use make PYTHON=python3.12 $(MAKECMDGOALS)." >&2; exit 1; }
	@echo "setting up $(VENV): three to seven minutes and 6 GB, once"
	@rm -f $(STAMP); start=$$(date +%s); \
	$(PYTHON) -m venv $(VENV) && \
	$(PIP) install -r requirements.lock && \
	$(PIP) install --no-deps --no-build-isolation -e . && \
	echo $$(($$(date +%s) - start)) > $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info
