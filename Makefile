# The commands a person uses. `make` alone lists them.
#
#   PYTHON=python3.12 make setup     another Python for the virtual environment
#   TORCH="torch==2.13.0 --index-url URL" make setup     another build of torch
#   VENV=path make test              another place for the virtual environment

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0

BIN := $(abspath $(VENV))/bin
INSTALLED := $(VENV)/.bnnkit-installed
BUILD_INPUTS := pyproject.toml CMakeLists.txt $(shell find csrc -type f)
CXX_SOURCES := $(shell find csrc tests bnnkit -name '*.h' -o -name '*.cpp' -o -name '*.cu')
CORES := $(shell getconf _NPROCESSORS_ONLN)
TORCH_IS_RECENT := import sys, torch; sys.exit(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10))

# for the programs that look for others: pip and cmake for ninja
export PATH := $(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo setup test test-cpp test-arm arm-programs test-python check lint types imports format bench sanitize gpu \
        wheel-check docs clean

help:  ## list the commands
	@awk -F ':.*## +' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: setup  ## train a small network through 1-bit ADCs on real digits, then evaluate it through other ADCs (2 minutes)
	$(BIN)/bnnkit train mlp --dataset digits --ao-bit 1 --w-bit 1 --adc-bit 1 --epochs 20 --threads 1
	$(BIN)/bnnkit eval latest --adc-bit fp,1,2,3,4
	@echo "training curve: $$(realpath runs/train/latest)/curve.png"

setup: $(INSTALLED)  ## make the virtual environment and build and install bnnkit into it (editable)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BUILD_INPUTS) | $(BIN)/python
	$(BIN)/python -c '$(TORCH_IS_RECENT)' 2>/dev/null || $(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet 'scikit-build-core>=0.10' 'pybind11>=2.13' 'cmake>=3.26' ninja
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[dev]'
	touch $@

test: test-cpp test-python  ## run all tests: ctest for the kernels, pytest for the rest

test-cpp: setup
	$(BIN)/cmake -S . -B build/cpp -G Ninja -DCMAKE_BUILD_TYPE=Release -DBNNKIT_PYTHON=OFF -DBNNKIT_BUILD_TESTS=ON
	$(BIN)/cmake --build build/cpp
	$(BIN)/ctest --test-dir build/cpp --output-on-failure -j $(CORES)

test-arm: arm-programs setup  ## cross-compile the kernels for 64-bit ARM and run their tests in an emulator
	$(BIN)/cmake -S . -B build/arm -G Ninja -DCMAKE_TOOLCHAIN_FILE=csrc/tests/aarch64.cmake \
	    -DCMAKE_BUILD_TYPE=Release -DBNNKIT_PYTHON=OFF -DBNNKIT_BUILD_TESTS=ON
	$(BIN)/cmake --build build/arm
	$(BIN)/ctest --test-dir build/arm --output-on-failure -j $(CORES)

arm-programs:
	@command -v aarch64-linux-gnu-g++ >/dev/null && \
	    { command -v qemu-aarch64-static || command -v qemu-aarch64; } >/dev/null || { \
	    echo "error: no compiler or emulator for ARM; needed: apt-get install g++-aarch64-linux-gnu qemu-user-static" >&2; \
	    exit 3; }

test-python: setup
	$(BIN)/python -m pytest

check: lint types imports test  ## everything a change must pass: lint, types, import rules, tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CXX_SOURCES)

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

format: setup  ## format the Python and C++ sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

bench: setup  ## measure the kernels on this machine
	$(BIN)/bnnkit bench --kernel xnor
	$(BIN)/bnnkit bench --kernel adc

sanitize: setup  ## run the C++ tests under address and undefined-behaviour sanitizers
	$(BIN)/cmake -S . -B build/sanitize -G Ninja -DCMAKE_BUILD_TYPE=Debug \
	    -DBNNKIT_PYTHON=OFF -DBNNKIT_BUILD_TESTS=ON -DBNNKIT_SANITIZE=ON
	$(BIN)/cmake --build build/sanitize
	$(BIN)/ctest --test-dir build/sanitize --output-on-failure -j $(CORES)

GPU_TESTS := tests/kernels/test_cuda.py tests/deploy/test_device_network.py
gpu:  ## on a machine with a GPU, with PYTHON's own torch: build, compare with the processor, look for races, measure
	$(PYTHON) -m pip install --no-build-isolation --no-deps --editable .
	$(PYTHON) -m pytest $(GPU_TESTS) tests/kernels/test_cuda_machine_code.py tests/train/test_training_on_gpu.py
	compute-sanitizer --tool memcheck --error-exitcode 1 $(PYTHON) -m pytest $(GPU_TESTS) -k 'not large'
	compute-sanitizer --tool racecheck --error-exitcode 1 $(PYTHON) -m pytest $(GPU_TESTS) -k 'not large'
	for kernel in xnor adc model train; do \
		$(PYTHON) -m bnnkit_cli bench --kernel $$kernel --device cuda -o results/bench/$$kernel-cuda.json || exit 1; \
	done

wheel-check: setup  ## build the wheel, install it into a clean environment and run `bnnkit doctor` there
	rm -rf build/wheel
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir build/wheel .
	$(BIN)/python -m venv build/wheel/env
	build/wheel/env/bin/python -m pip install --quiet $(TORCH)
	build/wheel/env/bin/python -m pip install --quiet build/wheel/bnnkit-*.whl
	cd build/wheel && env/bin/bnnkit doctor

docs: setup  ## write docs/cli.md anew from the program
	$(BIN)/python docs/write_cli.py

clean:  ## remove what was built (the virtual environment and runs/ stay)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -f $(INSTALLED)
