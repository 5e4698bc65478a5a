# `make demo TASK=comparison DATA=../shared/data` runs part A of the study; comparison_b, comparison_c and comparison_d are the other parts.
COMPARISON := $(filter comparison comparison_b comparison_c comparison_d,$(TASK))
ifneq ($(COMPARISON),)
$(if $(DATA),,$(error TASK=$(TASK) needs DATA=../shared/data))
CONFIGS := $(SHIPPED)/config.yaml $(SHIPPED)/real_data.yaml $(patsubst %,$(HERE)studies/equal_budgets/config/%.yaml,$(sort comparison $(COMPARISON)))
TARGETS := math$(if $(filter comparison_d,$(COMPARISON)),, glue)
endif
