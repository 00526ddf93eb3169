PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
RUN := $(VENV)/bin/python
TEST := $(RUN) -m pytest --numprocesses $(or $(WORKERS),2) --dist worksteal

.PHONY: universal segment page venv test test-slow test-all test-oldest fuzz lint bench clean

universal: $(VENV)/.installed
	$(RUN) -m train.universal --out runs/quick --resume

segment: $(VENV)/.installed
	@test -n "$(IMAGE)" || { echo "error: make segment IMAGE=... [OUT=...]" >&2; exit 2; }
	$(RUN) -m hou_synth.segment $(if $(OUT),--out "$(OUT)") "$(IMAGE)"

page: $(VENV)/.installed
	$(RUN) -m train.page

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

# The oldest dependencies that setup.py allows, in an environment of their own.
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest --numprocesses $(or $(WORKERS),2) --dist worksteal -m "not slow"

$(OLDEST)/.installed: setup.py
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --editable ".[dev]"
	touch $@

fuzz: $(VENV)/.installed
	$(TEST) tests/fuzz
	$(RUN) -m tests.fuzz.kills

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench: $(VENV)/.installed
	$(RUN) -m benchmarks.synthesis $(if $(TILES),--tiles $(TILES))
	$(RUN) -m benchmarks.pipeline $(if $(TILES),--tiles $(TILES))
	$(RUN) -m benchmarks.instances

clean:
	rm -rf $(VENV) $(OLDEST) build *.egg-info
