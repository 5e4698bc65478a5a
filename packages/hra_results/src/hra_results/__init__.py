"""Programs that read finished results of the HRA workflow: a page, differences, power, archives, publishing."""

STYLES = ("gsm8k", "boxed", "metamath")  # of reference answers, for `hra-workflow grade`
