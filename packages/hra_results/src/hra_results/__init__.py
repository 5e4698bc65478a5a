"""Programs that read finished results of the HRA workflow: a page, differences, power, archives, publishing."""
