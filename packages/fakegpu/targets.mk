CARD ?=

.PHONY: rehearse
rehearse: $(READY) ## run every kind of job at its real size on a fake GPU, to find its memory, waits and wrong devices; needs no GPU and no Hub (TABLE=glue, CONFIG=mine.yaml, CARD=h100)
	@python -m fakegpu.workflow $(if $(CARD),--card $(CARD)) $(if $(TABLE),--table $(TABLE)) -- $(SNAKEMAKE) --cores $(CORES) $(CONFIGURED) $(SHOWN) --keep-going
