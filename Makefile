# Everything a fresh machine needs: `make demo` and `make test` build their own environment first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test test-slow sanitize lint architecture bench bench-auto bench-quick clean

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
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

test-slow: $(VENV)/.installed
	$(BIN)/pytest -m slow

# The kernel tests with every memory access and every undefined behaviour checked, for each instruction set: about a
# minute to build and one more for each set. `wheel.cmake=true` makes a failed build an error here, where an
# installation would go on without the kernels. Leaks are not looked for: the interpreter and torch keep theirs.
SANITIZED := $(VENV)/sanitize
sanitize: $(VENV)/.installed
	rm -rf $(SANITIZED)
	$(BIN)/python -m pip install --quiet --no-deps --target $(SANITIZED) --config-settings=wheel.cmake=true \
	    --config-settings=cmake.build-type=Debug --config-settings=cmake.define.GABP_SANITIZE=ON .
	for isa in plain v3 v4; do \
	    GABP_ISA=$$isa PYTHONPATH=$(SANITIZED) ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	    LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	    $(BIN)/pytest tests/kernels || exit 1; \
	done

# The picture of the plan, from the imports; `make test` fails where it is not current.
architecture:
	$(PYTHON) docs/architecture.py

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

bench-auto: $(VENV)-bench/.installed
	$(VENV)-bench/bin/python -m bench.auto
	$(VENV)-bench/bin/python -m bench.scale

bench-quick: $(VENV)-bench/.installed
	$(VENV)-bench/bin/python -m bench.run --quick --out build/bench
	$(VENV)-bench/bin/python -m bench.sweeps --quick --out build/bench

clean:
	rm -rf $(VENV) $(VENV)-bench build demo
