"""The form of a run's adapter in which its answers are generated, by transformers or by vLLM."""

from hra_workflow import methods
from hra_workflow.core import grid
from hra_workflow.core.errors import expect
from hra_workflow.models import vllm_process
from hra_workflow.tasks.base import Task
from hra_workflow.tasks.datasets import reading

VLLM, TRANSFORMERS = "vllm", "transformers"


def with_suffix(prompt: dict, suffix: str) -> dict:
    """Return the settings of prompts in evaluation: those of the training, with a suffix of their texts."""
    return prompt | {name: prompt[name] + suffix for name in ("template", "message") if name in prompt}


def serving_mode(task: Task, run: str, backend: str) -> str | None:
    """Return the way a run's adapter is served (adapter, merged or lora); None without an adapter or a setting."""
    setting = (
        grid.value_for_run(task.settings["generation"]["serve"], run) if methods.trains(task.config, run) else None
    )
    if setting != "auto":
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


def check(task: Task, run: dict, key: str) -> None:
    """Raise JobError if the backend of the config cannot serve a run's adapter as requested."""
    method, name = methods.get(task.config, run["method"]), f"{run['method']}/{run['variant']}"
    backend = task.settings["generation"]["backend"]
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
