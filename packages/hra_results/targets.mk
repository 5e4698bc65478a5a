# The make targets of hra_results. The top Makefile includes this file and defines the variables.
.PHONY: report power diff archive verify publish grade

ARCHIVE ?=
EFFECT ?=
SCORE ?=
DEVIATION ?=
STATES = $(error Which states? make diff A=results B=../old/results, or B=published)
EXPORTED = 'request={$(USED)make: export}'
# TABLE may be a task, whose target also has costs and figures, or another table.
OF_TABLE = $(if $(wildcard $(HERE)rules/tasks/$(TABLE).smk),$(TABLE),table_$(TABLE))
WITHOUT = $(if $(WEIGHTS),$(if $(filter 0,$(WEIGHTS)),--no-weights,$(error WEIGHTS=$(WEIGHTS): expected 0 (without adapters and images) or nothing. Correct it)))

# The commands that write the plan of a target to the file $plan, or print the reason why there is none.
define planned
plan=$$(mktemp); trap 'rm -f "$$plan" "$$plan.log"' EXIT; \
	$(PLAN) $(CONFIGURED) --config plan_file="$$plan" -- $(1) > "$$plan.log" 2>&1 && [ -s "$$plan" ] || { cat "$$plan.log"; exit 1; }; \
	$(if $(VERBOSE),cat "$$plan.log",true)
endef

RECOMMENDED += $(call recommended,report,everything in one file)

report: $(READY) ## write tables, figures and runs to one HTML file: the demo's to demo/results/report.html (CONFIG=mine.yaml: yours)
	@$(if $(CONFIG)$(PROFILE),$(SNAKEMAKE) $(MACHINE),$(RUN_DEMO)) $(SHOWN) -- contents
	@python -m hra_results report $(if $(CONFIG)$(PROFILE),$(CONFIGURED),--configfile $(CONFIGS))

power: $(READY) ## print which differences between runs the tables can show, and the seeds for one of EFFECT points, 1 if not given (TABLE=glue, CONFIG=mine.yaml; SCORE=85 DEVIATION=1.5: before runs have finished)
	@$(call planned,$(if $(TABLE),table_$(TABLE),all)); \
	python -m hra_results power "$$plan" --effect $(or $(EFFECT),1)$(if $(SCORE), --score $(SCORE))$(if $(DEVIATION), --deviation $(DEVIATION))

diff: $(READY) ## compare two folders of results, method variants or runs, or one with its published row: settings, numbers, items (A=results B=../old/results, B=published, TO=page.html, CONFIG=mine.yaml)
	@python -m hra_results diff "$(or $(A),$(STATES))" "$(or $(B),$(STATES))" $(if $(TO),--to "$(TO)") $(CONFIGURED)

publish: $(READY) ## check an export for the Hub and list its files; TO=NAME/REPOSITORY uploads it (RUN= as for export)
	@shown=$$($(SNAKEMAKE) --cores 1 -q rules progress host reason -R export_adapter $(CONFIGURED) --config $(EXPORTED) -- export) || { echo "$$shown"; exit 1; }; \
	folder=$$(echo "$$shown" | sed -n 's|^The model card: \(.*\)/README.md$$|\1|p'); \
	echo "$$shown" | sed "s|^The model card: .*|Checking $$folder|"; \
	python -m hra_results publish "$$folder" $(if $(TO),--to "$(TO)")

archive: $(READY) ## write finished tables with records, predictions, adapters, config and environment to a zip file, without private paths and names (TABLE=glue, CONFIG=mine.yaml, WEIGHTS=0: without adapters and images, TO=name.zip or a folder)
	@$(call planned,$(if $(TABLE),$(OF_TABLE),all)); \
	python -m hra_results archive "$$plan" $(if $(TABLE),--table $(TABLE)) $(if $(TO),--to "$(TO)") $(WITHOUT)

verify: $(READY) ## check an archive, anywhere: its files, records and seals, and its tables, which are made again (ARCHIVE=glue.zip or a folder)
	@python -m hra_results verify "$(or $(ARCHIVE),$(error Which archive? make verify ARCHIVE=results/archive_glue.zip))"

grade: $(READY) ## grade your answers with every grader of the tables of mathematics (ANSWERS=answers.jsonl, STYLE=boxed, OUTPUT=column, ANSWER=column)
	@python -m hra_results grade $(or $(ANSWERS),$(error Which answers? make grade ANSWERS=answers.jsonl)) $(if $(STYLE),--style $(STYLE)) $(if $(OUTPUT),--output $(OUTPUT)) $(if $(ANSWER),--answer $(ANSWER))

# The validator of the metadata of archives; its test is skipped without it.
test-full: $(HERE).venv-roc-validator/.installed

$(HERE).venv-roc-validator/.installed: $(HERE)packages/hra_results/pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(@D)/bin/pip install -q --disable-pip-version-check --group $<:roc-validator
	touch $@
