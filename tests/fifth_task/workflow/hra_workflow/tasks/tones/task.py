"""The pitch of a short tone, with a network and a training of its own."""

from hra_workflow.tasks.base import Task


class Tones(Task):
    name = "tones"
    title = "Pitch of tones"
    keys = "hra_workflow.tasks.tones.keys"
    architecture = "hra_workflow.tasks.tones.network:load"
    required = ("epochs",)
    identity = ("item", "pitch")

    def entry(self, dataset: str) -> dict:
        of_all = {"benchmarks": {"test": "test"}, "metrics": ["accuracy"], "score": "accuracy"}
        return self.datasets[dataset] | of_all

    def download(self, dataset: str) -> dict:
        return {"archives": True}  # the files as they are


TASK = Tones
