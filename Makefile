# Everything runs in .venv, made from requirements.lock (tests and lint: requirements-dev.lock). "make help" lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEVELOP := $(VENV)/.develop
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where this is set, Python would compile every module again in every kernel and process of the tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help paper quick t1w all gallery test faults mutants campaign lint format map schema lab docs pages bench expected lock badge clean

help:
	@echo "make paper   set up, simulate the demo trial, run every notebook (minutes)"
	@echo "make quick   the same with few permutations, for a first look"
	@echo "make t1w     install what makes grey-matter maps from T1-weighted images (notebook 00)"
	@echo "make all     the demo with its appendix, and the real trials that this repository holds (an hour; S1 takes most of it)"
	@echo "make lab     set up and open JupyterLab in notebooks/"
	@echo "make test    set up and run the tests: those of each engine, then those of the project"
	@echo "make faults  put sixty faults in, one at a time: does a test notice each? (a quarter of an hour)"
	@echo "make mutants the same with the faults that mutmut makes of the table builders (long)"
	@echo "make campaign  kill and starve runs of a small study, run the demo elsewhere (hours): docs/reliability.md"
	@echo "make lint    check style, and that imports flow one way"
	@echo "make format  apply the style, bring notebooks and notebooks/percent in line (no edit is lost)"
	@echo "make schema  write data/studies/study.schema.json, by which editors check a study file"
	@echo "make map     draw docs/map.svg, the packages and what they import"
	@echo "make bench   recovery, calibration and speed tables (long)"
	@echo "make expected  write data/expected anew: the numbers that later runs are compared with"
	@echo "make lock    write the locks anew from pyproject.toml (UPGRADE=1: with newer packages)"
	@echo "make pages   after a run: open its pages in Chromium, check them with axe and vnu (needs node, java, chromium)"
	@echo "make docs    build the documentation site of the demo's notebooks and of docs/: build/site/index.html"
	@echo "make gallery  write docs/trials.md, calibration.md and power.md anew, from the results there are"
	@echo "make badge   REPOSITORY=owner/name: point the README's Binder badge to where this is published"
	@echo "make clean   remove the environment and data/derived; data/raw is left alone"
	@echo
	@echo "Without make, in the environment that it builds (source $(VENV)/bin/activate):"
	@echo "python run_all.py --study my_trial.yml           run a study; --help lists the options"
	@echo "python -m analysis_lib import-study TABLE.xlsx   your own table as a study: docs/your_own_trial.md"
	@echo "python -m analysis_lib check-study my_trial.yml  list every problem of a study"
	@echo "python -m analysis_lib fetch receptors           get the receptor maps; also templates, public trials, atlases"
	@echo "python -m analysis_lib trace NUMBER              say which file and notebook made a number"

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or later, or say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed, found: $$($(PYTHON) -V). Say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "venv failed: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }

# --no-compile: a third of the modules are ever imported, and Python compiles those by itself.
INSTALL = $(BIN)/python -m pip install --quiet --no-compile
define ready
	@echo "Installing the packages of $< into $(VENV) (about two minutes, once)"
	@$(INSTALL) --require-hashes -r $<
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@sh lab/git_filter.sh $(BIN)/python
	@touch $@
endef

$(READY): requirements.lock pyproject.toml | $(VENV)/bin/python
	$(ready)

# What runs the tests holds what runs the notebooks. uv, which is among it, installs the rest in a fifth
# of the time; where it cannot, pip does.
$(DEVELOP): requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@awk '/^[^ ]/ {mine = /^uv==/} mine' $< > $(VENV)/uv.lock
	@$(INSTALL) --require-hashes -r $(VENV)/uv.lock && $(BIN)/uv pip install --quiet --python $(BIN)/python \
		--require-hashes -r $< || echo "uv could not install $<: pip does"
	$(ready)
	@touch $(READY)

# What notebook 00 needs beside the rest.
t1w: $(READY) requirements-t1w.lock
	$(INSTALL) --require-hashes -r requirements-t1w.lock

paper: $(READY)
	$(BIN)/python run_all.py

quick: $(READY)
	$(BIN)/python run_all.py --quick

# S5 comes last: it compares what the others found.
BUNDLED := antidepressant argyelan_ect argyelan_rtms enigma_mdd
all: paper
	$(BIN)/python run_all.py --only S1,S2,S3,S4
	@for study in $(BUNDLED); do $(BIN)/python run_all.py --study $$study || exit 1; done
	$(BIN)/python run_all.py --only S5

# A pytest each, because each has a conftest.py of its own. All run, whichever fails. A process a core;
# a file stays in one of them, which makes its fixtures once. The longest files come first (LONGEST in
# tests/conftest.py), so that all end together. One BLAS thread each: more wait for one another.
test: $(DEVELOP)
	@status=0; for tests in engines/trialmmrm engines/voxelperm tests; do \
		OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadfile --no-loadscope-reorder $$tests || status=1; done; exit $$status

faults: $(DEVELOP)
	$(BIN)/python tests/faults.py

mutants: $(DEVELOP)
	$(BIN)/python tests/mutants.py

campaign: $(DEVELOP)
	$(BIN)/python tests/campaign.py

lint: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@found=$$($(BIN)/deptry . 2>&1) && echo "Imports are declared" || { echo "$$found"; exit 1; }
	@found=$$($(BIN)/lint-imports --no-logo 2>&1) && echo "Imports flow one way" || { echo "$$found"; exit 1; }

# Before the style, too: where a notebook was edited, its script is not yet what is to be formatted.
format: $(DEVELOP)
	$(BIN)/python tests/pairs.py
	$(BIN)/ruff check --fix --exit-zero --silent .
	$(BIN)/ruff format .
	$(BIN)/python tests/pairs.py
	$(BIN)/ruff check .

map: $(DEVELOP)
	$(BIN)/python docs/draw_map.py

schema: $(READY)
	$(BIN)/python docs/schema.py

data/raw/demo: | $(READY)
	$(BIN)/python -m analysis_lib simulate $@

# lab/ holds settings (no news from the internet, README as a page) and a first layout, with the table
# of contents open; what is changed in the layout afterwards stays.
$(VENV)/lab-workspaces: lab/workspace.json | $(READY)
	@JUPYTERLAB_WORKSPACES_DIR=$@ $(BIN)/jupyter lab workspaces import $<

lab: $(READY) | data/raw/demo $(VENV)/lab-workspaces
	JUPYTERLAB_WORKSPACES_DIR=$(CURDIR)/$(VENV)/lab-workspaces $(BIN)/jupyter lab --notebook-dir=. \
		--LabApp.app_settings_dir=$(CURDIR)/lab notebooks/01_clinical_outcomes.ipynb

bench: $(DEVELOP)
	$(BIN)/python -m benchmarks.recovery
	$(BIN)/python -m benchmarks.mmrm
	$(BIN)/python -m benchmarks.controls
	$(BIN)/python -m benchmarks.voxelwise
	$(BIN)/python -m benchmarks.receptors
	$(BIN)/python -m benchmarks.spatial_nulls
	$(BIN)/python -m benchmarks.randomisation
	$(BIN)/python -m benchmarks.specifications
	$(BIN)/python -m benchmarks.intervals
	$(BIN)/python -m benchmarks.calibration
	$(BIN)/python -m benchmarks.lost_runs
	$(BIN)/python -m benchmarks.load

# What is up to date does not run again. The diff of data/expected shows which numbers a change moved.
EXPECTED := demo $(BUNDLED)
expected: $(DEVELOP)
	@for study in $(EXPECTED); do for only in "" "--only S2,S3,S4" ""; do \
		$(BIN)/python run_all.py --study $$study $$only || exit 1; done; done
	$(BIN)/python -m analysis_lib.pipeline.expected $(EXPECTED)

# --universal: one file for every platform and Python. The others have the versions of
# requirements-dev.lock, which holds everything; pins already in it are kept unless UPGRADE=1.
COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --quiet
lock: $(DEVELOP)
	$(COMPILE) --all-extras $(if $(UPGRADE),--upgrade) -o requirements-dev.lock
	$(COMPILE) --extra install -c requirements-dev.lock -o requirements.lock
	$(COMPILE) --extra install --extra preprocess -c requirements-dev.lock -o requirements-t1w.lock
	$(COMPILE) --extra install --extra dask -c requirements-dev.lock -o requirements-cluster.lock

docs: $(DEVELOP)
	$(BIN)/python docs/site.py

pages: $(DEVELOP) build/pages/node_modules
	$(BIN)/python tests/pages.py

build/pages/node_modules:
	npm install --silent --no-save --no-package-lock --prefix build/pages axe-core@4.14.1 vnu-jar@26.9.27

gallery: $(READY)
	$(BIN)/python docs/trials.py
	$(BIN)/python docs/power.py

badge:
	@echo "$(REPOSITORY)" | grep -Eqx '[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+' || { echo "say make badge REPOSITORY=owner/name (found '$(REPOSITORY)')"; exit 1; }
	@sed -E -e 's#(mybinder\.org/v2/gh/)[^/]+/[^/]+/#\1$(REPOSITORY)/#' -e '/^\(Not before this repository/d' README.md > README.md.new
	@mv README.md.new README.md

clean:
	rm -rf $(VENV) data/derived
