# Everything a person or CI does with this project.  Needs Python 3.11 or later with venv, and make.
#
#   make setup   makes .venv from requirements.lock, once
#   make demo    a whole node on this machine, until stopped
#   make test    everything that is held against a change
#   make check   the quick, static part of it
#   make faults  all faults on real processes, a quarter of an hour; make kills: a thousand times kill -9
#   make browser the pages in a real Chromium

SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: simulate simulate-night zoo help setup demo test check unit e2e faults browser kills soak bench bench-large fuzz schemathesis audit lock clean

BIN := .venv/bin
STAMP := .venv/.setup-done
PYTEST := $(BIN)/python -m pytest
WORKERS ?= auto

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

setup: $(STAMP)

# A venv that was moved or lost its Python is made anew; so is one whose pins have changed.
$(STAMP): requirements.lock pyproject.toml
	@PYTHON='$(PYTHON)' sh tools/setup.sh
	@touch $@

demo: $(STAMP)
	@$(BIN)/cfm demo $(ARGS)

test: check unit e2e

check: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(STAMP)
	$(PYTEST) -m 'not e2e' -n $(WORKERS) --maxprocesses 8 $(ARGS)

# Real processes and real time.  Most of it is waiting for leases, pauses and second readings to pass, so two
# nodes live beside one another.  To collect all other tests as well would take 20 s.
E2E_AT_A_TIME ?= 2
e2e: $(STAMP)
	$(PYTEST) -m e2e $$(grep -rlw e2e tests --include='test_*.py') -n $(E2E_AT_A_TIME) $(ARGS)

# Everything that can go wrong with processes, networks, disks, clocks and metadata; root can try them all.
# Most of it is waiting for leases and pauses to end, which several nodes do beside one another.
FAULTS_AT_A_TIME ?= 3
faults: $(STAMP)
	$(PYTEST) tests/faults -m e2e --all-faults -n $(FAULTS_AT_A_TIME) $(ARGS)

# The pages in a real Chromium; axe-core looks whether everybody can use them, where npm can get it.
browser: $(STAMP) .tools/axe.done
	$(PYTEST) tests/browser -m e2e --browser $(ARGS)

.tools/axe.done:
	@mkdir -p .tools/axe
	npm install --silent --no-save --ignore-scripts --prefix .tools/axe axe-core@4.14.1 \
	    || echo 'axe-core is not to be had here'
	@touch $@

# kill -9 of everything, a thousand times under load; an hour or so.
kills: $(STAMP)
	$(BIN)/python bench/kill_thousand.py $(ARGS)

# A node under kill -9 of everything in turn, for half an hour or ARGS='--minutes N'.
soak: $(STAMP)
	$(BIN)/python bench/soak.py $(ARGS)

bench: $(STAMP)
	@missed=; for file in bench/bench_*.py; do \
	    echo "== $$file"; $(BIN)/python $$file || missed="$$missed $$file"; done; \
	    $(BIN)/python bench/report.py || missed="$$missed bench/report.py"; \
	    [ -z "$$missed" ] || { echo "missed their targets:$$missed" >&2; exit 1; }

# The table of docs/performance.md with ten million files, too; some minutes on a machine that does nothing else.
bench-large: $(STAMP)
	$(BIN)/python bench/report.py --large

# Looks for inputs that break a parser, for SECONDS in all; NAMES='patch df' takes some of them only.
SECONDS ?= 60
fuzz: $(STAMP) .tools/fuzz.done
	PYTHONPATH=.tools/fuzz $(BIN)/python tests/fuzz/run.py --seconds $(SECONDS) $(NAMES)

# Asks both programs, as their OpenAPI documents say that one may, and worse.
schemathesis: $(STAMP) .tools/schemathesis.done
	PATH="$(CURDIR)/.tools/schemathesis/bin:$$PATH" $(BIN)/python tools/ask_apis.py $(ARGS)

# Known vulnerabilities of what is pinned; ADVISORIES=FOLDER for a network without api.osv.dev.
audit: $(STAMP)
	$(BIN)/python tools/audit.py $(if $(ADVISORIES),--advisories $(ADVISORIES)) requirements.lock $(wildcard tools/requirements/*.txt)

# Where there is no wheel for this machine, fuzzing goes on without it, at random.
.tools/fuzz.done: tools/requirements/fuzz.txt
	@mkdir -p .tools
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: --upgrade --target .tools/fuzz -r $< \
	    || echo 'atheris is not to be had here'
	@touch $@

.tools/schemathesis.done: tools/requirements/schemathesis.txt
	$(BIN)/python -m venv --clear .tools/schemathesis
	.tools/schemathesis/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

# The result names no host: it installs the same from any index, with pip or uv.
lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv (pip install uv)' >&2; exit 1; }
	uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 \
	    --no-emit-index-url --group dev pyproject.toml > requirements.lock.new
	{ echo '# Pinned with hashes. Made by `make lock`; installed by `make setup`.'; \
	  cat requirements.lock.new; } > requirements.lock
	rm requirements.lock.new
	for tool in fuzz schemathesis; do \
	    { echo "# Pinned with hashes, for \`make $$tool\` alone. Made by \`make lock\`."; \
	      uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 \
	          --no-emit-index-url tools/requirements/$$tool.in; } > tools/requirements/$$tool.txt || exit 1; done

clean:
	rm -rf .venv .tools build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +

# Whole nodes in virtual time: a fixed run, and one for a night.  A failing seed is told with its story.
simulate: .tools/simulator.done
	PYTHONPATH=.tools/simulator $(BIN)/cfm simulate --seed $(or $(SEED),1) --hours 3 --seeds $(or $(SEEDS),1600) $(ARGS)

simulate-night: .tools/simulator.done
	PYTHONPATH=.tools/simulator $(BIN)/cfm simulate --seed $$(date +%s) --hours 12 --seeds 1000000 \
	    --cpu-seconds 28800 $(ARGS)

# The same worlds as native code, where there is a C compiler; else they are played in plain Python.
.tools/simulator.done: $(STAMP) tools/compile_simulator.py $(shell find src -name '*.py')
	@mkdir -p .tools
	$(BIN)/python tools/compile_simulator.py .tools/simulator || rm -rf .tools/simulator
	@touch $@

# Every bug of the zoo, side by side on all cores; the simulator must catch each within a minute.
zoo: $(STAMP)
	PYTHONPATH=tests $(BIN)/python tests/zoo/run_zoo.py $(ARGS)
