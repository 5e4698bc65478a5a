"""The keys of the task tones and of its datasets."""

from hra_workflow.keys.section import Section, key
from hra_workflow.keys.sources import Source
from hra_workflow.keys.tasks import EveryTask


class Dataset(Section, title="datasets.tones.{name}"):
    """Tones with their pitch."""

    source: Source = key("Where the tones come from.", reruns="data")


class Settings(EveryTask, title="tasks.tones"):
    """The pitch of tones."""
