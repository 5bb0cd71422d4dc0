# Each target sets itself up: all that is needed is Python 3.11 or newer, and make.
#
#   make demo     upscale the samples, measure what was kept, save before/after pictures in demo_output/
#   make test     run all tests
#   make lint     check style and formatting
#   make bench    measure speed and memory against other runtimes
#   make fuzz     send damaged and hostile files through everything (FUZZ_ARGS="--n 20000 --seed 1")
#   make lock     pin a release's dependencies with their hashes: requirements-release.txt
#   make sbom     list what is installed as CycloneDX JSON: dist/sbom.cdx.json
#   make audit    look the pinned dependencies up in the database of known vulnerabilities
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

TOOLS := $(VENV)/tools
RELEASE_EXTRAS := dicom ccd video zarr cluster
FUZZ_ARGS ?= --n 2000

.PHONY: demo test lint bench fuzz lock sbom audit clean
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

fuzz: $(VENV)/.ready
	$(TEST_ENV) $(BIN)/python -m tests.fuzz --jobs $(WORKERS) $(FUZZ_ARGS)

# Hashes of the public index's files, for all platforms; who installs with them gets these bytes or none:
# pip install --require-hashes -r requirements-release.txt && pip install --no-deps sciSR
lock: $(TOOLS)/.ready
	$(TOOLS)/bin/uv pip compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --constraint constraints.txt $(RELEASE_EXTRAS:%=--extra %) \
		--output-file requirements-release.txt pyproject.toml

sbom: $(VENV)/.ready $(TOOLS)/.ready
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
		--output-file dist/sbom.cdx.json $(BIN)/python

audit: $(TOOLS)/.ready
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements-release.txt

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

# Apart from what is released: they must not stand in its SBOM.
$(TOOLS)/.ready: | $(VENV)/bin/python
	@$(BIN)/python -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip --disable-pip-version-check install --quiet uv cyclonedx-bom pip-audit
	@touch $@

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.11 or newer; name it with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

clean:
	rm -rf $(VENV) demo_output build dist .pytest_cache .ruff_cache .hypothesis
	find sciSR plugins tests data_samples benchmarks -name __pycache__ -prune -exec rm -rf {} +
