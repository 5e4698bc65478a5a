"""The settings of the executor, which Snakemake offers as options."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Optional

from snakemake_executor_plugin_slurm import ExecutorSettings as SlurmSettings
from snakemake_interface_common.exceptions import WorkflowError


@dataclass
class ExecutorSettings(SlurmSettings):
    """The settings of the Slurm plugin, and additional ones. Snakemake parses the types; it needs Optional."""

    replicates: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "Comma-separated wildcards in which replicates differ, such as 'seed'. Replicates take equally "
            "long: they share a GPU with each other first."
        },
    )
    allocation_minutes: Optional[int] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "Maximum runtime, in minutes, of a Slurm job whose jobs run one after the other (resource "
            "jobs_per_allocation): it gets as many jobs as their runtimes allow."
        },
    )
    partition: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "Partition of jobs that do not have the resource slurm_partition."}
    )
    gpu_partition: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "The same for jobs with a GPU, if it is another one."}
    )
    gpu_model: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "GPU model of jobs with a GPU that do not have the resource gpu_model."}
    )
    gpu_models: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "GPU models of the site with their memory in MB, such as 'l40s:48000 h100:85000'. A job without "
            "the resource gpu_model gets the smallest with enough memory for its resource gpu_mem_mb, and for all jobs "
            "that share the GPU; the largest if that resource is missing or 0."
        },
    )
    gres: bool = field(
        default=False,
        metadata={"help": "Request GPUs with --gres=gpu:MODEL:N instead of --gpus=MODEL:N, which some sites refuse."},
    )
    stages: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "Resources of the jobs of a stage, which their rules name with the resource `stage`, such as "
            "'train:slurm_account=grant train:qos=long'. They override those of the rule."
        },
    )
    mps: bool = field(
        default=False, metadata={"help": "Start NVIDIA's multi-process service for the jobs that share a GPU."}
    )
    environment: Optional[Path] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "Archive (tar) of the Python environment on the shared file system. The first job on a node "
            "unpacks it to the same path on the node's local disk."
        },
    )
    # Those of this process: in a dry run, Snakemake reads them and keeps none. `packs.options` needs them.
    stated: ClassVar[Optional["ExecutorSettings"]] = None

    def __post_init__(self):
        super().__post_init__()
        if wrong := [one for one in (self.stages or "").split() if not re.fullmatch(r"[^:]+:\w+=.+", one)]:
            raise WorkflowError(
                f"slurm-packs-stages: expected STAGE:RESOURCE=VALUE, found {wrong[0]}. Separate several by spaces."
            )
        if self.allocation_minutes is not None and self.allocation_minutes < 1:
            raise WorkflowError(
                f"slurm-packs-allocation-minutes: expected 1 or more, found {self.allocation_minutes}. Omit it for no "
                "limit."
            )
        self.memory_of_models()
        ExecutorSettings.stated = self

    def memory_of_models(self) -> dict[str, int]:
        """Return the memory of each GPU model in MB. Raises WorkflowError for another form, and for two defaults."""
        stated = (self.gpu_models or "").split()
        if wrong := [one for one in stated if not re.fullmatch(r"[^:]+:[1-9]\d*", one)]:
            raise WorkflowError(
                f"slurm-packs-gpu-models: expected MODEL:MB, found {wrong[0]}. Separate several by spaces."
            )
        if stated and self.gpu_model:
            raise WorkflowError(
                "slurm-packs-gpu-model and slurm-packs-gpu-models: expected one of them, found both. The first is the "
                "model of all jobs, the second chooses by memory."
            )
        return {model: int(memory) for model, _, memory in (one.partition(":") for one in stated)}
