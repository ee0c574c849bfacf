# make demo: install into .venv, run the main job on the built-in demo corpus, print the board.
# make test: the whole default test suite.   make check: style, types, import rules, boards against their records.
# make check-upstreams: every encoder at its published size with random weights, one after another: the largest has 2.2
# billion parameters, which are 9 GB.

PYTHON ?= python3
VENV ?= .venv
BENCH := $(VENV)/bin/bench
DEMO := .demo
READY := $(VENV)/ready

.PHONY: demo test check check-upstreams install clean

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt torch torchaudio
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(VENV)/bin/pip install --quiet --no-deps --ignore-requires-python hearvalidator==2021.0.6
	touch $@

demo: $(READY)
	$(BENCH) run --upstream fbank_no_cmvn,mfcc,cpc,cpc~random --task ks,asr,pitch --data demo --jobs 2 --results $(DEMO)
	$(BENCH) report --board demo --results $(DEMO)
	$(BENCH) compare cpc cpc~random --results $(DEMO)
	$(BENCH) compare cpc fbank_no_cmvn --results $(DEMO)

test: $(READY)
	$(VENV)/bin/python -m pytest --numprocesses auto

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	$(BENCH) report --check

check-upstreams: $(READY)
	$(VENV)/bin/python -m earbench.checks.full

clean:
	rm -rf $(VENV) $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
