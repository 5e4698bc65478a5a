"""The backend that generates a run's answers, and the form of the adapter that it gets."""

from pathlib import Path

from hra_workflow import methods
from hra_workflow.core import files, grid, provenance
from hra_workflow.core.errors import JobError, expect
from hra_workflow.models import vllm_process
from hra_workflow.tasks.base import Task
from hra_workflow.tasks.datasets import reading

AUTO, VLLM, TRANSFORMERS = "auto", "vllm", "transformers"


def with_suffix(prompt: dict, suffix: str) -> dict:
    """Return the settings of prompts in evaluation: those of the training, with a suffix of their texts."""
    return prompt | {name: prompt[name] + suffix for name in ("template", "message") if name in prompt}


def record(task: Task) -> Path:
    """Return the file with the backend of the answers in the results folder."""
    return Path(task.config["pathvars"]["results"], task.name, "backend.json")


def backend(task: Task) -> str:
    """Return the backend of the config; with auto, the backend of earlier answers, else vLLM if it can be used."""
    setting, path = task.settings["generation"]["backend"], record(task)
    if setting != AUTO:
        return setting
    if path.exists():
        return files.read_json(path)["backend"]
    return TRANSFORMERS if obstacle(task) else VLLM


def obstacle(task: Task) -> str | None:
    """Return why auto does not choose vLLM, or None."""
    entry = task.settings["generation"]
    if not entry["resources"].get("gpu") or entry["resources"].get("device") == "cpu":
        return "without a GPU"
    for run in task.runs():
        name = f"{run['method']}/{run['variant']}"
        if task.hyperparameters(run["dataset"], name).get("quantization"):
            return f"{name} is on a 4-bit base model"
        if methods.trains(task.config, name) and grid.value_for_run(entry["serve"], name) == "adapter":
            return f"`serve: adapter` for {name}"
        if not methods.get(task.config, run["method"]).adapter.merges:
            return f"{name} cannot be merged"
    version = vllm_process.version()
    return None if vllm_process.is_supported(version) else f"vLLM {version or 'is not installed'}"


def serving_mode(task: Task, run: str, backend: str) -> str | None:
    """Return the way a run's adapter is served (adapter, merged or lora); None without an adapter or a setting."""
    setting = (
        grid.value_for_run(task.settings["generation"]["serve"], run) if methods.trains(task.config, run) else None
    )
    if setting != AUTO:
        return setting
    if backend == TRANSFORMERS:
        return "adapter"
    return "lora" if refusal(task, run) is None else "merged"


def prediction(task: Task, dataset: str, run: str) -> dict:
    """Return the settings of answers to new questions, generated with transformers, which needs no export."""
    entry, settings = task.settings["generation"], task.hyperparameters(dataset, run)
    chosen = {"backend": TRANSFORMERS, "serve": serving_mode(task, run, TRANSFORMERS)}
    return {
        "reading": reading(task.datasets[dataset]),
        "column": task.datasets[dataset]["columns"]["question"],
        "evaluation_suffix": task.settings["prompt"]["evaluation_suffix"],
        "generation": {key: entry[key] for key in ("batch_size", "stop")} | chosen,
        "max_new_tokens": max(entry["max_new_tokens"][name] for name in task.datasets[dataset]["benchmarks"]),
        "precision": task.generation_precision(dataset, run),
        "quantization": settings.get("quantization"),
    }


def refusal(task: Task, run: str) -> str | None:
    """Return why vLLM cannot load a run's LoRA, such as DoRA's magnitudes; "" if it has none, None if it can."""
    method, variant = run.split("/")
    adapter = methods.get(task.config, method).adapter
    peft = task.config["methods"][method]["variants"][variant].get("peft") or {}
    return vllm_process.obstacle(adapter.as_lora(peft)) if adapter.export_lora else ""


def describe_choice(task: Task, backend: str) -> str:
    """Describe the backend and the reason, for the dry run."""
    setting = task.settings["generation"]["backend"]
    name = f"{backend} {vllm_process.version() or ''}".strip() if backend == VLLM else backend
    if setting != AUTO:
        return f"{name}, as stated"
    if record(task).exists():
        return (
            f"{name}, as for earlier answers ({record(task)}); `backend` {VLLM} or {TRANSFORMERS} generates all again"
        )
    reason = obstacle(task)
    return f"{name} (auto{f': {reason}' if reason else ''})"


def save_backend(task: Task, backend: str) -> None:
    """Record the backend for the jobs and for later plans; raise JobError if vLLM cannot be used."""
    problem = vllm_process.problem() if backend == VLLM else None
    if problem and task.settings["generation"]["backend"] == AUTO:
        problem += f" It generated the earlier answers ({record(task)}): `backend: {TRANSFORMERS}` generates all again."
    if problem:
        raise JobError(problem)
    if not record(task).exists() or files.read_json(record(task))["backend"] != backend:
        files.write_json(record(task), {"backend": backend, "since": provenance.now()})


def check(task: Task, run: dict, key: str, backend: str) -> None:
    """Raise JobError if the backend cannot serve a run's adapter as requested."""
    method, name = methods.get(task.config, run["method"]), f"{run['method']}/{run['variant']}"
    vllm, served = backend == VLLM, serving_mode(task, name, backend)
    quantized = task.hyperparameters(run["dataset"], name).get("quantization")
    expect(
        not quantized or not (vllm or (served == "merged" and not method.adapter.merges_quantized)),
        f"{key} is on a 4-bit base model, which cannot be merged, nor served by vLLM as in training. "
        "Use `serve: adapter` or `lora` with `backend: transformers`, or `quantization: null`",
    )
    if not method.trains:
        return
    kind = grid.kind_of(task.config["methods"][run["method"]])
    expect(
        not quantized or method.quantizes,
        f"{key} is on a 4-bit base model: PEFT has no layers of type {kind} for it. Use `quantization: null`",
    )
    expect(
        method.adapter.merges or served != "merged",
        f"{key}: adapters of type {kind} cannot be merged into the weights. Use `serve: {{{run['method']}: adapter, "
        "…}` with `backend: transformers`",
    )
    able = ", ".join(kind for kind, entry in methods.METHODS.items() if entry.adapter.export_lora)
    expect(served is not None, f"{key}: generation.serve has no value for it. Add one for {run['method']} or default")
    expect(
        not vllm or served != "adapter",
        f"{key}: vLLM cannot serve its adapter as trained (`serve: adapter`). Use `serve: lora`, an equivalent "
        f"LoRA (kinds {able}), or `merged`, which rounds every adapted weight to the model's precision",
    )
    expect(
        served != "lora" or method.adapter.export_lora,
        f"{key}: expected a kind with an equivalent LoRA ({able}) for `serve: lora`, found "
        f"{kind}. Use `serve: {{default: merged, …: lora}}`",
    )
    why = refusal(task, name) if vllm and served == "lora" else None
    expect(not why, f"{key}: {why}. Use `serve: {{{name}: merged, …}}`")
