# make help lists the targets. STUDY names a file in studies/ (default: twin).
STUDY ?= twin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
RUN := $(VENV)/bin/python -m skillhouse
V ?=
.DEFAULT_GOAL := help

.PHONY: help build sensitivity test lint check doctor sql report figures export docs diff \
	bench bench-world bench-paper bench-check clean distclean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/installed: requirements.lock
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

build: $(VENV)/installed  ## raw files to published warehouse: make build [STUDY=name] [FRESH=1] [V=-v]
	@SKILLHOUSE_PARENT=$$PPID exec $(RUN) $(V) build --study $(STUDY) $(if $(FRESH),--fresh)

sensitivity: $(VENV)/installed  ## what each open choice does to the gain: make sensitivity [STUDY=name] [ONLY=a,b] [ATTRIBUTION=1]
	@SKILLHOUSE_PARENT=$$PPID exec $(RUN) $(V) sensitivity --study $(STUDY) --only "$(ONLY)" $(if $(ATTRIBUTION),--attribution)

test: $(VENV)/installed lint  ## lint and every test
	@exec $(VENV)/bin/python -m pytest

lint: $(VENV)/installed  ## ruff and sqlfluff
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/sqlfluff lint --disable-progress-bar models macros

check: $(VENV)/installed  ## validate a study and list its files: make check STUDY=name
	@exec $(RUN) $(V) check --study $(STUDY)

doctor:  ## what is missing on this machine or in a study: make doctor [STUDY=name]
	@test -x $(VENV)/bin/python && exec $(RUN) doctor --study $(STUDY) || exec $(or $(PYTHON),python3) -m skillhouse doctor --study $(STUDY)

report: $(VENV)/installed  ## the results as one page to look at: make report [STUDY=name] [PRIVATE=1]
	@exec $(RUN) $(V) report --study $(STUDY) $(if $(PRIVATE),--private)

figures: $(VENV)/installed  ## the report's figures as PDF and PNG: make figures [STUDY=name]
	@exec $(RUN) $(V) figures --study $(STUDY)

export: $(VENV)/installed  ## a bundle for others: make export [TABLES=a,b] [FORMAT=parquet,csv,netcdf] [VERSION=YYYY.M.n]
	@exec $(RUN) $(V) export --study $(STUDY) $(if $(TABLES),--tables $(TABLES)) \
		$(if $(FORMAT),--format $(FORMAT)) $(if $(VERSION),--version $(VERSION))

docs: $(VENV)/installed  ## data dictionary, and a site of models with their lineage: make docs [STUDY=name]
	@exec $(RUN) $(V) docs --study $(STUDY)

diff: $(VENV)/installed  ## which public values moved: make diff A=one.duckdb B=other.duckdb
	@exec $(RUN) $(V) diff $(A) $(B)

sql: $(VENV)/installed  ## open the published warehouse read-only: make sql [STUDY=name]
	@path=$$($(RUN) path --study $(STUDY)) && exec $(VENV)/bin/duckdb -readonly "$$path"

$(VENV)/bench-installed: $(VENV)/installed requirements-bench.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

bench: $(VENV)/bench-installed  ## measurements beside peers, as ratios: make bench [ONLY=a,b]
	@exec $(VENV)/bin/python -m benchmarks --study $(STUDY) $(if $(ONLY),--only $(ONLY))

bench-check: $(VENV)/bench-installed  ## are the recorded ratios still reached? small sizes
	@exec $(VENV)/bin/python -m benchmarks.check

bench-world: $(VENV)/installed  ## a synthetic lake of the published study's size: make bench-world [CELLS=2287]
	@exec $(VENV)/bin/python -m benchmarks.world $(if $(CELLS),--cells $(CELLS))

bench-paper: $(VENV)/bench-installed  ## a study of that size, step by step: make bench-paper [STEPS=build,queries] [MEMORY=2GiB]
	@exec $(VENV)/bin/python -m benchmarks.paper_scale \
		--steps $(or $(STEPS),build,unchanged,queries,report,export) $(if $(MEMORY),--memory $(MEMORY))

clean:  ## remove what was generated (raw files of the twin, lake, builds, warehouses)
	rm -rf data .build export report/out docs/site logs target warehouse.duckdb warehouse.duckdb.wal

distclean: clean  ## clean, and the virtual environment too
	rm -rf $(VENV)
