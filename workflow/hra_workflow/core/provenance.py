"""Provenance of results: code, libraries, machine."""

import importlib.metadata
import platform
import subprocess
import time
from pathlib import Path

from hra_workflow.core.errors import JobError

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "snakemake")


def record() -> dict:
    """Collect the provenance fields of train.json: commit, dirty flag, versions."""
    commit, dirty = git_state()
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def git_state() -> tuple[str | None, bool | None]:
    """Return the commit and whether tracked files differ from it, or (None, None) outside a git checkout."""

    def git(*arguments: str) -> str:
        root = Path(__file__).parent
        command = ["git", "-c", "safe.directory=*", *arguments]  # another user may have installed the workflow
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def now() -> str:
    """Return the time in UTC, in ISO 8601 format."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def device_name(device: str) -> str:
    """Return the name of the GPU or of the processor."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    try:
        model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
        return f"CPU: {model.split(':', 1)[1].strip()}"
    except (OSError, StopIteration):
        return f"CPU: {platform.processor() or platform.machine()}"


def peak_memory_bytes(device: str) -> int:
    """Return the peak memory so far: allocated on the GPU by torch, otherwise the process's resident set size."""
    import resource

    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_bytes(device: str) -> int:
    """Return the memory of the GPU, or of this machine."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    import psutil

    return psutil.virtual_memory().total


def pick_device(job: dict) -> str:
    """Return `cuda` or `cpu` as requested in the config; raise JobError if cuda is requested but unavailable."""
    gpu = job["resources"].get("gpu", 0)
    wanted = job["params"].get("device") or ("cuda" if gpu else "cpu")
    if wanted != "cuda":
        return wanted
    import torch

    if torch.cuda.device_count() < 1:
        raise JobError(
            f"The config requests {gpu} GPU(s) (tasks.….resources.gpu); torch {torch.__version__} finds none on "
            f"{platform.node()}. Set gpu: 0 to use the CPU, or check the CUDA build and the node."
        )
    return wanted
