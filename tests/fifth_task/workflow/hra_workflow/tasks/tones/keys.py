"""The keys of the task tones and of its datasets."""

from hra_workflow.keys.tasks import Downloaded, EveryTask


class Dataset(Downloaded, title="datasets.tones.{name}"):
    """Tones with their pitch."""


class Settings(EveryTask, title="tasks.tones"):
    """The pitch of tones."""
