# Everything a fresh machine needs: `make demo` and `make test` build their own environment first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test test-slow lint bench bench-quick clean

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Not editable: tests and demo run what a user gets from pip.
$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt CMakeLists.txt $(shell find gabp kernels -name '*.py' -o -name '*.cpp' -o -name '*.hpp')
	$(INSTALL) '.[test]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/gabp demo --out demo

test: $(VENV)/.installed
	$(BIN)/pytest

test-slow: $(VENV)/.installed
	$(BIN)/pytest -m slow

lint: $(VENV)/bin/python
	$(INSTALL) '.[dev]'
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# Editable: the benchmark runs from the checkout and records its commit.
$(VENV)-bench/.installed: pyproject.toml CMakeLists.txt $(shell find kernels -name '*.cpp' -o -name '*.hpp')
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --upgrade pip 'scikit-build-core>=0.10' 'nanobind>=2'
	$(VENV)-bench/bin/python -m pip install --quiet --constraint constraints.txt --no-build-isolation -e '.[bench]'
	touch $@

bench: $(VENV)-bench/.installed
	$(VENV)-bench/bin/python -m bench.run
	$(VENV)-bench/bin/python -m bench.sweeps

bench-quick: $(VENV)-bench/.installed
	$(VENV)-bench/bin/python -m bench.run --quick --out build/bench
	$(VENV)-bench/bin/python -m bench.sweeps --quick --out build/bench

clean:
	rm -rf $(VENV) $(VENV)-bench build demo
