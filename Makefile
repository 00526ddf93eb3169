PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: universal venv test lint clean

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

clean:
	rm -rf $(VENV) build *.egg-info
