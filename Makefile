PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
TEST := $(RUN) -m pytest --numprocesses $(or $(WORKERS),2) --dist worksteal

.PHONY: universal segment venv test test-slow test-all fuzz lint bench clean

universal: $(VENV)/.installed
	$(RUN) -m train.universal --out runs/quick --resume

segment: $(VENV)/.installed
	@test -n "$(IMAGE)" || { echo "error: make segment IMAGE=... [OUT=...]" >&2; exit 2; }
	$(RUN) -m hou_synth.segment $(if $(OUT),--out "$(OUT)") "$(IMAGE)"

venv: $(VENV)/.installed

$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

test: $(VENV)/.installed
	$(TEST) -m "not slow"

test-slow: $(VENV)/.installed
	$(TEST) -m slow

test-all: test test-slow

fuzz: $(VENV)/.installed
	$(TEST) tests/fuzz

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench: $(VENV)/.installed
	$(RUN) -m benchmarks.synthesis $(if $(TILES),--tiles $(TILES))
	$(RUN) -m benchmarks.pipeline $(if $(TILES),--tiles $(TILES))
	$(RUN) -m benchmarks.instances

clean:
	rm -rf $(VENV) build *.egg-info
