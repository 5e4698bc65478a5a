"""Programs that read finished results of the HRA workflow."""
