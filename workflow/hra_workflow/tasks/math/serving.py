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
    backend, kind = task.settings["generation"]["backend"], grid.kind_of(task.config["methods"][run["method"]])
    quantized = task.hyperparameters(run["dataset"], name).get("quantization")
    expect(
        not quantized or (backend != VLLM and method.quantizes),
        f"{key} is on a 4-bit base model: expected `backend: {TRANSFORMERS}`, and a kind for which PEFT has 4-bit "
        f"layers, found {backend} and {kind}. Change one of them, or set `quantization: null`",
    )
    if not method.trains:
        return
    why = refusal(task, name) if backend == VLLM else None
    possible = {
        "adapter": backend != VLLM,
        "merged": method.adapter.merges and (not quantized or method.adapter.merges_quantized),
        "lora": method.adapter.export_lora and not why,
    }
    served, forms = serving_mode(task, name, backend), [form for form, is_possible in possible.items() if is_possible]
    expect(
        served in forms,
        f"{key}: generation.serve: expected {' or '.join(forms) or 'another backend'} for kind {kind} with {backend}"
        f"{' in 4 bits' if quantized else ''}, found {served or 'none'}{f' ({why})' if why else ''}. Correct it",
    )
