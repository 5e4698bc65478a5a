"""The usage of a task's finished runs: export of an adapter, and predictions for new inputs."""

import inspect
from pathlib import Path
from typing import ClassVar

from hra_workflow import methods
from hra_workflow.core import grid
from hra_workflow.core.errors import expect
from hra_workflow.tasks.part import Part


class Usage(Part):
    """The usage of a task's finished runs.

    pipeline_tag: the Hub's name of a model's purpose.
    predicts_from: the new inputs that predictions need, as alternatives (requested_run.GIVEN).
    """

    pipeline_tag: ClassVar[str] = ""
    predicts_from: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def prediction(self, dataset: str, run: str) -> dict:
        """Return the settings, in addition to the run's record, that predictions of `method/variant` depend on."""
        return {}

    # Equal for all tasks

    @classmethod
    def snippet(cls) -> str:
        """Return the template of the Python lines that use an exported adapter, for its card."""
        return Path(inspect.getfile(cls)).with_name("snippet.jinja").read_text()

    def exported(self, run: str, weights: str) -> str:
        """Return `weights` of `method/variant`; raise JobError if stock PEFT could not load them."""
        kind = grid.kind_of(self.config["methods"][run.split("/")[0]])
        expect(
            bool(methods.get(self.config, run.split("/")[0]).adapter.config),
            f"{run}: expected an adapter of PEFT to export, found weights of kind {kind}, which are a part of the "
            f"model. Name a run with an adapter (--run FOLDER); {weights} can be used here (hra-workflow predict).",
        )
        return weights

    def resources(self) -> dict:
        """Return the resources of predictions: those of generation, or of training if the task generates nothing."""
        resources = self.task.cost.resources("predict_inputs", "generate")
        return resources | {"device": resources.get("device"), "gpu": min(1, resources["gpu"])}

    def reading(self, dataset: str) -> dict:
        """Return the settings that read a dataset's text files, for new files with the same `endings`."""
        entry = self.datasets[dataset]
        paths = [path for listed in entry["splits"].values() for path in listed]
        return {"read": entry.get("read"), "endings": sorted({Path(path).suffix for path in paths})}
