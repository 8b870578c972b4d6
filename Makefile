# make help lists the targets. STUDY names a file in studies/ (default: twin).
STUDY ?= twin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
RUN := $(VENV)/bin/python -m skillhouse
V ?=
.DEFAULT_GOAL := help

.PHONY: help build sensitivity test lint check diff sql bench clean distclean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/installed: requirements.lock
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

build: $(VENV)/installed  ## raw files to published warehouse: make build [STUDY=name] [V=-v]
	@SKILLHOUSE_PARENT=$$PPID exec $(RUN) $(V) build --study $(STUDY)

sensitivity: $(VENV)/installed  ## what each open choice does to the gain: make sensitivity [STUDY=name] [ONLY=a,b] [ATTRIBUTION=1]
	@SKILLHOUSE_PARENT=$$PPID exec $(RUN) $(V) sensitivity --study $(STUDY) --only "$(ONLY)" $(if $(ATTRIBUTION),--attribution)

test: $(VENV)/installed lint  ## lint and every test
	@exec $(VENV)/bin/python -m pytest

lint: $(VENV)/installed  ## ruff and sqlfluff
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/sqlfluff lint --disable-progress-bar models macros

check: $(VENV)/installed  ## validate a study and list its files: make check STUDY=name
	@exec $(RUN) check --study $(STUDY)

diff: $(VENV)/installed  ## which public values moved: make diff A=one.duckdb B=other.duckdb
	@exec $(RUN) diff $(A) $(B)

sql: $(VENV)/installed  ## open the published warehouse read-only: make sql [STUDY=name]
	@path=$$($(RUN) path --study $(STUDY)) && exec $(VENV)/bin/duckdb -readonly "$$path"

bench: $(VENV)/installed  ## measure the readers and the bootstrap beside plain versions
	@for f in benchmarks/*.py; do $(VENV)/bin/python -m benchmarks.$$(basename $$f .py) || exit 1; done

clean:  ## remove what was generated (raw files of the twin, lake, builds, warehouses)
	rm -rf data .build export report/out logs target warehouse.duckdb warehouse.duckdb.wal

distclean: clean  ## clean, and the virtual environment too
	rm -rf $(VENV)
