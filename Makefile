# The front door. `make` alone prints every target. Nothing has to be set up first: each target does what it needs.

PYTHON ?= python3
# Everything runs in the environment that the project has chosen, whatever the terminal's is.
CHOSEN := -I -S shared/environment.py
NEW_ENOUGH := -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PY := .venv/bin/python $(CHOSEN) .venv/bin/python
READY := .venv/.ready
# So many tests run side by side: most of them wait. 0 runs one after the other.
WORKERS ?= 3
PYTEST = $(PY) -m pytest --numprocesses $(WORKERS) --dist loadgroup --no-loadscope-reorder
# What needs no server and no browser.
PURE := tests/judge tests/results tests/battle/test_plan.py tests/machines/test_placement.py tests/report/test_page.py
STACKS_ALL := $(shell sed -n 's/^\[stacks\.\(.*\)\]$$/\1/p' stacks.toml)

.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help db-up db-down db-status seed battle battle-quick battle-2014 compare report example demo-sleep faults faults-document results-document soak audit check test lint format bench-encode lock clean \
	$(STACKS_ALL:%=run-%) $(STACKS_ALL:%=wrk-%)

help: ## print every target with one line each
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-24s %s\n", $$1, $$2 }' Makefile
	@awk -F '"' '/^\[stacks\./ { name = substr($$1, 9, length($$1) - 9) } /^title/ && name { \
		printf "  make run-%-20s serve %s\n  make wrk-%-20s start it, load it with wrk, stop it\n", name, $$2, name; name = "" }' stacks.toml
	@echo '  make locust-NAME              the same with locust: people and programs that read articles'
	@echo '  make locust-ui-NAME           the same, steered and watched in a browser'
	@echo
	@echo 'Variables: HOST PORT MONGODB_URI MONGODB_DATABASE and the others of docs/contract.md;'
	@echo '           STACKS ENDPOINTS CONNECTIONS DURATION THREADS_WRK TIMEOUT for battle and wrk-NAME, such as'
	@echo '           make battle STACKS="gunicorn-sync gunicorn-gevent" CONNECTIONS=1000 DURATION=30s;'
	@echo '           ROUNDS DB_LATENCY_MS CPUS_SERVER CPUS_DB CPUS_LOAD PLAN RESUME for the battles (docs/measuring.md)'

$(STACKS_ALL:%=run-%): run-%: $(READY)
	@$(PY) -m loadtests run $*

$(STACKS_ALL:%=wrk-%): wrk-%: $(READY)
	@$(PY) -m loadtests wrk $*

battle: $(READY) ## measure the stacks against one another, in rounds: STACKS= ROUNDS= CONNECTIONS= DB_LATENCY_MS=
	@$(PY) -m loadtests battle

battle-quick: $(READY) ## one round with short cells, under 3 minutes: a first look
	@$(PY) -m loadtests battle-quick

battle-2014: $(READY) ## what the 2014 article measured: 200, 1000 and 5000 connections, 30 s, 3 repeats (hours)
	@$(PY) -m loadtests battle-2014

compare: $(READY) ## what changed between two battles: A=2026-11-24T06-10-00Z B=latest
	@$(PY) -m loadtests compare

report: $(READY) ## write report.html once more: RESULTS=latest, or a folder's name
	@$(PY) -m loadtests report

example: $(READY) ## make docs/example/ anew from a finished battle: RESULTS=latest, or a folder's name
	@$(PY) -m loadtests example

demo-sleep: $(READY) ## threads against events, told with live numbers in a minute
	@$(PY) -m loadtests demo-sleep

.PHONY: locust locust-master locust-worker locust-limit $(STACKS_ALL:%=locust-%) $(STACKS_ALL:%=locust-ui-%)

$(STACKS_ALL:%=locust-%): locust-%: $(READY)
	@$(PY) -m loadtests locust $*

$(STACKS_ALL:%=locust-ui-%): locust-ui-%: $(READY)
	@$(PY) -m loadtests locust-ui $*

locust: $(READY) ## load a server that runs already: TARGET=http://host:port (LOCUST_USERS= LOCUST_RUN_TIME= ...)
	@$(PY) -m loadtests locust

locust-master: $(READY) ## locust on several machines, the one that leads: TARGET= LOCUST_EXPECT_WORKERS=
	@$(PY) -m loadtests locust-master

locust-worker: $(READY) ## locust on several machines, one that sends: MASTER=host:port
	@$(PY) -m loadtests locust-worker

locust-limit: $(READY) ## the most that one process of locust can send on this machine, beside wrk
	@$(PY) -m loadtests locust-limit

faults: $(READY) ## what each stack does when database, workers, clients or machine misbehave: STACKS= CASES= (25 minutes)
	@$(PY) -m loadtests faults

faults-document: $(READY) ## write docs/faults.md anew from the last make faults and make soak
	@$(PY) -m loadtests faults-document

results-document: $(READY) ## write docs/results.schema.json and the tables of docs/results.md anew from the types
	@$(PY) -m loadtests results-document

soak: $(READY) ## one stack under a steady load for long, and whether anything grows: STACK= MINUTES=60
	@$(PY) -m loadtests soak

audit: $(READY) ## look the locked dependencies up among the known vulnerabilities
	@$(PY) -m loadtests audit

db-up: $(READY) ## start a mongod on loopback and keep it running
	@$(PY) -m shared up

db-down: $(READY) ## stop that mongod, keep its data
	@$(PY) -m shared down

db-status: $(READY) ## say whether it runs, and where
	@$(PY) -m shared status

seed: $(READY) ## put the small and the big document into the database
	@$(PY) -m shared seed

check: export STACKS = $(or $(STACK),gunicorn-gevent)
check: $(READY) ## in 3 minutes: the style, what needs no server, the contract on one stack: STACK=gunicorn-gevent
	@$(PY) -m loadtests lint
	@$(PYTEST) $(PURE) tests/contract

test: $(READY) ## everything: the contract on every stack, the apps' own tests, the bench's: STACKS= WORKERS=3
	@$(PY) -m tests.harness.prepare
	@$(PYTEST)

lint: $(READY) ## check the style and the types of everything
	@$(PY) -m loadtests lint

format: $(READY) ## lay out the code
	@$(PY) -m loadtests format

bench-encode: $(READY) ## time each app's encoder against its driver's own
	@$(PY) -m loadtests bench-encode

lock: $(READY) ## pin the newest versions of the project's own Python dependencies, with hashes
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--upgrade requirements.in --output-file requirements.lock
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--upgrade requirements-audit.in --output-file requirements-audit.lock

clean: ## remove what set-up and runs have made, the database's data too
	@python=.venv/bin/python; [ -x $$python ] || python="$(PYTHON)"; ! "$$python" $(NEW_ENOUGH) || \
		"$$python" $(CHOSEN) "$$python" -c 'from shared import environment, mongod; environment.choose(); mongod.remove()'
	@# First what says that something is ready: half of it is not.
	@rm -rf $(READY) .prepared .nodejs/wheel/installed.lock
	@rm -rf .venv .mongodb .nodejs results */.venv */node_modules */target

# The environment of the project itself. `pip` runs again when the lock changes.
$(READY): requirements.lock
	@"$(PYTHON)" $(NEW_ENOUGH) || \
		{ echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3' >&2; exit 2; }
	@"$(PYTHON)" $(CHOSEN) "$(PYTHON)" -m shared.set_up
