# Two commands set everything up: `make demo` and `make test`. Both make .venv first, from pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check bench bench-peers gpu clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $(INSTALLED)

demo: $(INSTALLED)  ## generated data -> shards -> training, killed once and resumed -> evaluation -> demo/report.html
	$(BIN)/python tools/demo.py --out demo

test: $(INSTALLED)  ## everything CI runs
	$(BIN)/python tools/check.py --all

check: $(INSTALLED)  ## format, lint, types, import direction: no tests
	$(BIN)/python tools/check.py

bench: $(INSTALLED)  ## every benchmark at its quick size
	$(BIN)/python benchmarks/run_all.py --quick

bench-peers: $(INSTALLED)  ## an environment for each peer of the loader's benches
	$(BIN)/python benchmarks/peers/environments.py

gpu:  ## GPU tests and benchmarks on a machine that has torch already; prints a table last
	$(PYTHON) tools/gpu.py

clean:
	rm -rf $(VENV) demo
