# The class that config.yaml names is imported from this repository.
ifneq ($(findstring studies/peft_rlmath/,$(CONFIG)),)
export PYTHONPATH := $(or $(HERE),$(CURDIR)/)$(addprefix :,$(PYTHONPATH))
endif
