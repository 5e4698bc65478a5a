"""What the export asks a task about a finished run.

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

from typing import ClassVar

from hra_workflow import methods
from hra_workflow.core import grid
from hra_workflow.core.errors import expect
from hra_workflow.tasks.part import Part


class Usage(Part):
    """Describe what can be done with a task's finished runs.

    pipeline_tag: the Hub's name of what a model does; "": an adapter is not a model that PEFT can load.
    """

    pipeline_tag: ClassVar[str] = ""

    def loading(self, dataset: str) -> str:
        """Return the Python lines that load the base model, `{base}`, as `model`, for the card of an adapter."""
        return ""

    # Without differences between tasks

    def exported(self, run: str, weights: str) -> str:
        """Return `weights`, those of `method/variant`; raise JobError if stock PEFT could not load them."""
        kind = grid.kind_of(self.config["methods"][run.split("/")[0]])
        expect(
            bool(methods.of(self.config, run.split("/")[0]).adapter.config),
            f"{run}: expected an adapter of PEFT to export, found weights of kind {kind}, which are a part of the "
            f"model: publish {weights} with train.json as they are.",
        )
        expect(
            bool(self.pipeline_tag),
            f"{run}: an adapter of task {self.name} includes layers that PEFT cannot add to the base model, so it "
            "cannot be exported for the Hub.",
        )
        return weights
