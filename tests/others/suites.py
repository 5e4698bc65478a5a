"""The test suites of other projects that `make others-tests` runs, and what of each is left out or expected to fail."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "tests/others/README.md"


@dataclass(frozen=True)
class Suite:
    """Tests of one package.

    `commit`: where its tests are if its source distribution has none, a commit of its repository on GitHub.
    `files`: names of test files, without `test_`; with `.py`, as they are.
    `edits`: (file, text, replacement) that add this package's layers as a case, where the suite lists others only, or
    replace the tested executor.
    `machine`: a context in which the tests run, which need none of the models; `lacking`: why this machine has none, or
    None. `page`: the file with its line of the table; `stand_ins`: a folder of modules for `edits`.
    `differs`: part of a test's name and the reason why this package fails it on purpose.
    `anyway`: part of a test's name and the reason why it fails without this package, too.
    """

    name: str
    package: str
    files: str
    what: str
    folder: str = "tests"
    select: str = ""
    repository: str = ""
    commit: str = ""
    machine: Callable[[], AbstractContextManager] | None = None
    lacking: Callable[[], str | None] = lambda: None
    page: Path = PAGE
    stand_ins: Path = Path(__file__).parent
    environment: dict[str, str] = field(default_factory=dict)
    edits: tuple[tuple[str, str, str], ...] = ()
    differs: dict[str, str] = field(default_factory=dict)
    anyway: dict[str, str] = field(default_factory=dict)


def retention_tasks() -> list[str]:
    """Return the tasks of the config's `retention` that load without the Hub."""
    config = yaml.safe_load((ROOT / "config/math/task.yaml").read_text())
    benchmarks = config["tasks"]["math"]["retention"]["benchmarks"].values()
    return [each["task"] for each in benchmarks if "unsafe_code" not in each]  # whose metric is on the Hub


HRA_CASE = 'TEST_CASES = [\n    (HRAConfig, {"r": 8, "target_modules": ["q_proj", "v_proj"]}),'
SUITES = [
    Suite(
        name="peft",
        package="peft",
        files="config custom_models decoder_models encoder_decoder_models feature_extraction_models initialization "
        "seq_classifier stablediffusion vision_models common_gpu",
        what="PEFT's tests of HRA, on this package's layers",
        select="hra",
        differs={
            "conv2d_groups_greater_than_one": "this package adapts convolutions with groups",
            "TestResnet::test_model_with_batchnorm_reproducibility": "r above the input width is an error here",
        },
    ),
    Suite(
        name="peft-quantised",
        package="peft",
        files="quantization",
        what="PEFT's tests of quantised base models, with HRA as an additional case",
        select="hra",
        edits=(
            ("tests/test_quantization.py", "from peft import BOFTConfig", "from peft import HRAConfig, BOFTConfig"),
            ("tests/test_quantization.py", "TEST_CASES = [", HRA_CASE),
        ),
        differs={
            "quantization_backend_is_set_and_repr": "layers here call the quantised layer and need no backend",
            "merge_unmerge_unload": "merging into quantised weights, which rounds, is an error here",
            "forward_changes_output[hra-{'r':8,'target_modules':['q_proj','v_proj']}-bnb_4bit": "bitsandbytes has "
            "repacked the 4-bit weights for the CPU in a pass before, which blocks gradients: an error here",
        },
    ),
    Suite(
        name="peft-compile",
        package="peft",
        files="torch_compile",
        what="PEFT's tests of `torch.compile`",
        select="hra",
        environment={"PEFT_DEBUG_WITH_TORCH_COMPILE": "1"},
    ),
    Suite(
        name="diffusers",
        package="diffusers",
        folder="tests/lora",
        files="lora_layers_sd",
        what="diffusers' tests of LoRA, each with an exported HRA adapter, loaded from its file, instead of a LoRA",
        select="StableDiffusionLoRATests",
        repository="huggingface/diffusers",
        commit="58eb52c0803ea9af3abec60841c2a093bdf1f951",
    ),
    Suite(
        name="transformers",
        package="transformers",
        folder="tests/peft_integration",
        files="peft_integration",
        what="transformers' tests of PEFT, with an exported HRA adapter as the adapter on the Hub",
        repository="huggingface/transformers",
        commit="3f3cae74245cba80b5cc34c6c3e914940ac3f109",
        environment={"RUN_SLOW": "1"},
        anyway={
            "keys_warning": "transformers 5.24 prints these keys in a table",
            "prefix_tuning": "PEFT 0.21.2 refuses prefix tuning of this model with transformers 5.24",
        },
    ),
    Suite(
        name="lm_eval",
        package="lm_eval",
        files="tasks samplers metrics filters group aggregation_pipeline evaluator_utils",
        what="lm-evaluation-harness' tests, with the tasks of `retention`",
        edits=(
            ("tests/test_tasks.py", "from .utils import new_tasks", "new_tasks = list"),  # not in its distribution
            ("tests/test_tasks.py", 'TASKS = ["arc_easy"]', f"TASKS = {retention_tasks()}"),
        ),
    ),
]
