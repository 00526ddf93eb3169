PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: universal venv test lint bench clean

universal: $(VENV)/.installed
	$(RUN) -m train.universal --out runs/quick --resume

venv: $(VENV)/.installed

$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

test: $(VENV)/.installed
	$(RUN) -m pytest

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench: $(VENV)/.installed
	$(RUN) -m benchmarks.synthesis $(if $(TILES),--tiles $(TILES))
	$(RUN) -m benchmarks.pipeline $(if $(TILES),--tiles $(TILES))
	$(RUN) -m benchmarks.instances

clean:
	rm -rf $(VENV) build *.egg-info
