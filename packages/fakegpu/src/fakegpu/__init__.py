"""A training script at its real size, on a GPU that does not exist."""
