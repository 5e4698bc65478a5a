# The make targets of hra_results. The top Makefile includes this file and defines the variables.
.PHONY: report

RECOMMENDED += $(call recommended,report,everything in one file)

report: $(READY) ## write tables, figures and runs to one HTML file: the demo's to demo/results/report.html (CONFIG=mine.yaml: yours)
	@$(if $(CONFIG)$(PROFILE),$(SNAKEMAKE) $(MACHINE),$(RUN_DEMO)) $(SHOWN) -- contents
	@python -m hra_results report $(if $(CONFIG)$(PROFILE),$(CONFIGURED),--configfile $(CONFIGS))
