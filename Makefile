# Each target sets itself up: all that is needed is Python 3.11 or newer, and make.
#
#   make demo     upscale the samples, measure what was kept, save before/after pictures in demo_output/
#   make test     run all tests
#   make lint     check style and formatting
#   make bench    measure speed and memory against other runtimes
#   make clean    remove everything that these made
#
# pip takes its index and wheels from its usual settings (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf); point it at
# a CPU-only torch to save some gigabytes on a machine without a GPU.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
WORKERS ?= 2
# Two test workers with one thread each are faster than one with two.
TEST_ENV := OMP_NUM_THREADS=1 MPLBACKEND=Agg

.PHONY: demo test lint bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.ready
	$(BIN)/python data_samples/demo.py --output demo_output

test: $(VENV)/.ready
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.ready-benchmark
	$(BIN)/python benchmarks/inference.py

# The stamps make a second run start at once; a changed dependency list renews the environment.
$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing sciSR and its tested dependencies into $(VENV): a few minutes the first time"
	@$(PIP) -e '.[test,dicom,ccd,video,demo,train]'
	@# Without what it asks for: of torchvision it needs nothing for super-resolution, and a wheel that does not fit
	@# the installed torch breaks whatever imports it.
	@$(PIP) --no-deps spandrel einops || echo "spandrel is not to be had: the tests of community checkpoints skip"
	@touch $@

$(VENV)/.ready-benchmark: $(VENV)/.ready
	@$(PIP) -e '.[test,dicom,ccd,video,demo,train,benchmark]'
	@touch $@

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.11 or newer; name it with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

clean:
	rm -rf $(VENV) demo_output build dist .pytest_cache .ruff_cache .hypothesis
	find sciSR plugins tests data_samples benchmarks -name __pycache__ -prune -exec rm -rf {} +
