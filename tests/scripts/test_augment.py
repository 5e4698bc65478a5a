"""Initial adapters: the same bytes from the base model's shapes as from its weights, where these do not matter."""

import shutil
from pathlib import Path

import pytest

import augment
from hra_workflow import methods
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import sources
from hra_workflow.models import random_weights
from sums import TINY_LLAMA, MathRun
from support import ROOT, method

LLAMA, UNET = ["q_proj", "v_proj"], ["to_q", "to_k", "to_v", "to_out.0"]
KINDS = {
    "hra": {"r": 3, "apply_GS": True},
    "lora": {"r": 4, "init_lora_weights": "gaussian"},
    "oft": {"r": 4, "coft": True, "eps": 6e-5},
    "boft": {"boft_block_size": 4, "boft_n_butterfly_factor": 2},
    "adalora": {"init_r": 4, "target_r": 2},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Folders of a tiny LLaMA whose output layer is its embedding, which counts once, and of a Stable Diffusion."""
    llama = tmp_path_factory.mktemp("llama")
    config = TINY_LLAMA["config"] | {"tie_word_embeddings": True}
    random_weights.transformers_model(llama, "llama", config, causal_lm=True)
    return {"causal_lm": llama, "unet": ROOT / "workflow/pictures-sd", "controlled": ROOT / "workflow/pictures-sd"}


class Start:
    """The job that inserts adapters into a copy of a model."""

    def __init__(self, folder: Path, model: Path, architecture: str, spec: dict):
        shutil.copytree(model, folder / "model")
        manifest = {"name": "m", "revision": None, "sha256": "0", "folder": "model"}
        files.write_json(folder / "manifest.json", manifest | {"files": sources.list_files(folder / "model")})
        self.folder, self.job = folder, MathRun(folder, {"model": str(folder / "manifest.json")}, spec).augment
        # PEFT rounds an adapter to the dtype of the weights.
        precision = "bf16" if architecture == "causal_lm" else "float32"
        self.job["params"] |= {"architecture": architecture, "precision": precision}

    def run(self) -> dict[str, bytes]:
        """Return the files of the initial adapter by name."""
        augment.main(self.job)
        return {path.name: path.read_bytes() for path in Path(self.job["output"]["manifest"]).parent.iterdir()}

    def hollow(self) -> None:
        """Replace the bytes of the weights with zeros: reading them is noticed."""
        for path in [path for name in ("*.safetensors", "*.bin") for path in (self.folder / "model").rglob(name)]:
            path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("architecture", "kind"), [*(("causal_lm", kind) for kind in KINDS), ("unet", "hra"), ("controlled", "hra")]
)
def test_an_adapter_of_shapes_is_the_same_without_weights(tmp_path, models, monkeypatch, architecture, kind):
    targets = LLAMA if architecture == "causal_lm" else UNET
    spec = method(kind, peft=KINDS[kind], targets=targets)
    start = Start(tmp_path, models[architecture], architecture, spec)
    with monkeypatch.context() as patch:
        patch.setattr(methods.Method, "reads_weights", lambda self, peft: True)
        expected = start.run()
    start.hollow()
    assert start.run() == expected
    assert expected.keys() == {"adapter_config.json", "adapter_model.safetensors", "manifest.json"}


def test_an_adapter_computed_from_weights_reads_them(tmp_path, models, monkeypatch):
    spec = method("lora", peft={"r": 4, "use_dora": True}, targets=LLAMA)
    start = Start(tmp_path, models["causal_lm"], "causal_lm", spec)
    start.run()
    with monkeypatch.context() as patch:
        patch.setattr(methods.Method, "reads_weights", lambda self, peft: False)
        with pytest.raises(JobError, match=r"lora .*Make `starts_from_weights` .* return true"):
            start.run()
    start.hollow()
    with pytest.raises(JobError, match=r"model.safetensors: expected SHA-256"):
        start.run()


def test_which_initial_adapters_depend_on_weights():
    cases = [("lora", {"init_lora_weights": False}), ("oft", {"bias": "none"}), ("hra", {"bias": "hra_only"})]
    found = [methods.METHODS[kind].reads_weights(peft) for kind, peft in cases]
    assert found == [False, False, True]  # PEFT saves biases with the adapter


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("vera", {"rr": 8}, ".peft.rr: VeraConfig has no such .* can set. Use one of .*, r,"),
        ("hra", {"r": 8, "initscale": 0.1}, r".peft.initscale: HRAConfig has no .* \(is it 'init_scale'\?\)"),
        ("hra", {"r": "8"}, r".peft.r: expected a value of type int, found '8'"),
        ("hra", {"r": 7}, r": peft.r is 7; the paired initialisation .* even r"),
        ("lora", {"init_lora_weights": "olora"}, ": peft.init_lora_weights is 'olora', which changes the base weights"),
        ("lora", {"eva_config": {}}, ": peft.eva_config needs data or additional calls"),
    ],
)
def test_a_wrong_argument_is_an_error_before_the_model_is_loaded(tmp_path, kind, arguments, message):
    files.write_json(tmp_path / "model.json", {"name": "m", "revision": None, "sha256": "0", "files": {}})
    job = {
        "rule": "augment",
        "input": {"model": str(tmp_path / "model.json")},
        "output": {"manifest": str(tmp_path / "manifest.json")},
        "params": {"method": method(methods.PEFT, type=kind, peft=arguments), "seed": "0"},
        "wildcards": {"task": "glue", "method": "chosen", "variant": "v", "seed": "0"},
    }
    with pytest.raises(JobError, match=f"config: methods.chosen.variants.v{message}"):
        augment.main(job)
