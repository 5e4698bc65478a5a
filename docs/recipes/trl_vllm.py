"""GRPO of TRL 1.16 with a vLLM server that gets the HRA adapter as a LoRA, instead of merged weights.

    VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve MODEL --enable-lora --max-lora-rank 8 \
        --logprobs-mode processed_logprobs --weight-transfer-config '{"backend": "nccl"}'

and `send_as_lora(trainer)` between the trainer's creation and `trainer.train()`, with `use_vllm=True` and
`vllm_mode="server"`. `--max-lora-rank` is at least r.
"""

import shutil
import tempfile
from pathlib import Path

import hra


def send_as_lora(trainer, folder: str = "/dev/shm") -> None:
    """Let the syncs of a trainer send its HRA adapter to vLLM's server as a LoRA of rank r, which is exactly equal.

    folder: a place for the adapter's files that the server can read, too. Each sync loads the adapter under a new name,
    because vLLM keeps cached prefixes, and with `load_inplace` reads the files again for every new batch.
    Raises ValueError from `hra.to_lora` for what a LoRA cannot have, and requests.HTTPError with the server's answer.
    """
    generation, main = trainer.vllm_generation, trainer.accelerator.is_main_process
    place, sent = Path(tempfile.mkdtemp(prefix="hra-", dir=folder)), 0

    def ask(path: str, **content) -> None:
        client = generation.vllm_client
        client.session.post(f"{client.base_url}/v1/{path}", json=content).raise_for_status()

    def sync() -> None:
        nonlocal sent
        if main:
            old, sent = place / f"hra-{sent}", sent + 1
            new = place / f"hra-{sent}"
            hra.to_lora(trainer.accelerator.unwrap_model(trainer.model), new)
            if old.exists():
                ask("unload_lora_adapter", lora_name=old.name)
            ask("load_lora_adapter", lora_name=new.name, lora_path=str(new))
            generation.vllm_client.model = new.name  # the model that TRL's requests name
            shutil.rmtree(old, ignore_errors=True)
        trainer.accelerator.wait_for_everyone()

    generation.sync_weights = sync
