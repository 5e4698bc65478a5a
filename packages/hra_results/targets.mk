# The validator of the metadata of archives; its test is skipped without it.
test-full: .venv-roc-validator/.installed

.venv-roc-validator/.installed: packages/hra_results/pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(@D)/bin/pip install -q --disable-pip-version-check --group $<:roc-validator
	touch $@
