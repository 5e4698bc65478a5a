"""The error that a user can put right."""


class JobError(Exception):
    """Says what was expected, what was found and what to do."""
