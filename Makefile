# Each verb sets up what it needs: a virtual environment under .venv, versions from envs/constraints.txt.
PYTHON ?= python3
VENV ?= .venv
CORES ?= 2
TASK ?=
DATA ?=
TABLE ?=
CONFIG ?=
RESULTS ?= results
export PATH := $(abspath $(VENV))/bin:$(PATH)

READY := $(VENV)/.installed
# The whole demo, or one task; DATA=../shared/data runs it on the real CoLA, SST-2, MRPC, STS-B, GSM8K, DreamBooth, ADE20K,
# COCO and dlib's faces in that folder.
ROOT := $(if $(DATA),demo/real,demo)
CONFIGS := config/demo.yaml $(if $(DATA),config/demo_real.yaml)
TABLES := $(if $(TASK),$(ROOT)/results/table_$(TASK).csv $(ROOT)/results/figures/$(TASK)_parameters.png $(if $(filter subject,$(TASK)),sheets) $(if $(filter control,$(TASK)),control_sheets),all)
SNAKEMAKE := snakemake --cores $(CORES) --configfile $(CONFIGS) $(if $(DATA),--config local_root=$(DATA))

.PHONY: help install demo status plan report test fast lint format bench clean-demo

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

install: $(READY) ## the environment, under .venv

demo: $(READY) ## the whole chain on two CPU cores in minutes (TASK=glue, math, subject or control, DATA=../shared/data, CORES=2)
	$(SNAKEMAKE) --logger rich -- $(TABLES)
	@for task in $(or $(TASK),glue math subject control); do python workflow/scripts/show_table.py $(ROOT)/results/table_$$task.csv; done

status: $(READY) ## how far the last runs are, and the ends of failed logs (TABLE=glue)
	@python workflow/scripts/status.py $(TABLE)

plan: $(READY) ## what the tables cost: jobs, GPU-hours, downloads, disk (TABLE=glue, CONFIG=mine.yaml)
	@snakemake -n -q $(if $(CONFIG),--configfile $(CONFIG)) -- $(if $(TABLE),$(RESULTS)/table_$(TABLE).csv,all)

report: $(READY) ## the demo's tables and figures as one HTML file, demo/report.html
	$(SNAKEMAKE) --report $(ROOT)/report.html -- all

test: fast ## every test, the demo included
	python -m pytest -m slow -n $(CORES)

fast: $(READY) ## the tests that take seconds
	python -m pytest -m "not slow" -n $(CORES)

lint: $(READY) ## ruff, snakefmt, snakemake --lint
	ruff check . && ruff format --check .
	snakefmt --check Snakefile rules
	snakemake --lint

format: $(READY) ## rewrite the code in the project's style
	ruff check --fix . && ruff format .
	snakefmt Snakefile rules

bench: $(READY) ## speed and memory against PEFT's HRA and LoRA
	python -m benchmarks

clean-demo: ## remove what the demo made
	rm -rf demo

$(READY): pyproject.toml envs/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -c envs/constraints.txt -e '.[dev]'
	# Beside the environment, for tests/hra/test_quantised.py: inside, every import of PEFT would import them, for a second.
	$(VENV)/bin/pip install -q --disable-pip-version-check -c envs/constraints.txt --no-deps --upgrade --target $(VENV)/quantization bitsandbytes torchao
	touch $@
