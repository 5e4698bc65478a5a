"""The demo's config with every feature on, and another legal value for each of its leaves."""

import copy
from fnmatch import fnmatchcase
from typing import Any

import yaml
from snakemake.utils import update_config

from config_keys import Leaf, at, other
from support import ROOT, paper_config

# What the demo leaves out, and second names for what it has one of, so that each can be changed to another.
MORE = """
models:
  minilm-l6: {targets: {few: [query]}}
  word-problems-llama: {targets: {few: [q_proj]}}
  pictures-sd: {targets: {few: [to_q]}}
datasets:
  glue:
    sentiment: {benchmarks: {again: validation}, metrics: [accuracy, matthews_correlation]}
    others:
      tokens: 12
      source: {kind: init, generator: hra_workflow.demo.text_tasks:sentiment, rows: {train: 960, validation: 300}}
      splits: {train: [train.parquet], validation: [validation.parquet]}
      columns: [sentence]
      label: label
      labels: [negative, positive]
      benchmarks: {validation: validation, again: validation}
      metrics: [accuracy, f1, accuracy_f1_mean, matthews_correlation]
      score: accuracy_f1_mean
  math:
    word-problems: {benchmarks: {again: word-problems-test/test}}
tasks:
  glue:
    grid:
      - {runs: [hra/r8, hra/r8-lambda1e-3, hra/r8-inf], datasets: [sentiment], seeds: [0]}
      - {runs: [head/linear], datasets: [others], seeds: [0]}
    selection: held-out
    resources: {runs_per_gpu: 1}
    columns:
      - {name: Sentiment, dataset: sentiment, benchmark: validation, metric: accuracy}
      - {name: Others, dataset: others, benchmark: validation, metric: accuracy}
      - {name: Others (acc/F1 mean), dataset: others, benchmark: validation, metric: accuracy_f1_mean}
    averages:
      - {name: All (acc), columns: [Sentiment, Others]}
      - {name: Both, columns: [Sentiment, Others]}
    figures: {parameters: [All (acc)], lambda: [Sentiment]}
  math:
    grid: [{runs: [base/pretrained, full/all, lora/r8], datasets: [word-problems], seeds: [0]}]
    compute: {runs: [lora/r8]}
    prompt: {chat: auto}
    generation: {max_new_tokens: {again: 50}}
    retention:
      dataset: word-problems
      base: base/pretrained
      runs: [base/pretrained, lora/r8]
      seeds: [0]
      batch_size: 16
      limit: 10
      include_path: null
      resources: {gpu: 0, threads: 1, mem_mb: 1000, runtime: 5}
      benchmarks:
        ARC: {task: arc_challenge, shots: 25, metric: acc}
        HumanEval: {task: humaneval, shots: 0, metric: pass@1, unsafe_code: false}
  subject:
    grid: [{runs: [real/images, hra/r8], datasets: [jester-ball], seeds: [0]}]
  control:
    grid:
      - {runs: [hra/r8], datasets: [scenes-canny, scenes-classes, scenes-points], seeds: [0]}
      - {runs: [real/images, full/all], datasets: [scenes-canny], seeds: [0]}
"""
SWAPPED = {
    "accuracy": "matthews_correlation", "f1": "accuracy", "accuracy_f1_mean": "accuracy", "strict": "lenient",
    "lenient": "strict", "efficientnet": "faithfulness", "faithfulness": "efficientnet", "blocked": "st_lpips_real",
    "st_lpips_real": "st_lpips_diversity", "st_lpips_diversity": "st_lpips_real",
    "canny_iou": "canny_f1", "canny_f1": "canny_iou",
    "classes_miou": "classes_aacc", "classes_aacc": "classes_miou", "points_error": "points_no_face",
    "points_error_all": "points_no_face", "points_no_face": "points_error", "sentiment": "others",
    "others": "sentiment",
}  # fmt: skip
# Where the schema does not give another value: the name of something else in the config, or a text of a certain form.
VALUES: dict[str, Any] = {
    "pathvars.*": lambda value: f"{value}-elsewhere",
    "local_root": "config/..",
    "container": "docker://image",
    "report_to": ["tensorboard"],
    "*.sha256": "0" * 64,
    "models.pictures-sd.source.path": "./workflow/word-problems-llama",
    "models.word-problems-llama.source.path": "./workflow/pictures-sd",
    "methods.base.kind": "full",
    "methods.real.kind": "pretrained",
    "methods.*.targets": "few",
    "*.source.revision": "0" * 40,
    "*.source.files.*.url": lambda value: f"{value}x",
    "*.source.files.*": "0" * 64,
    "datasets.*.repo_type": "model",
    "datasets.control.scenes-[cp][lo]*.evaluators": lambda value: [*value, "canny"],
    "datasets.control.scenes-*s.hint": "canny",
    "datasets.glue.*.labels": lambda value: value[::-1],
    "datasets.glue.*.columns": lambda value: value[:1] if len(value) > 1 else [*value, "label"],
    "datasets.glue.*.benchmarks.*": "train",
    "datasets.glue.sentiment.metrics": lambda value: [*value, "f1"],
    "datasets.glue.others.metrics": lambda value: value[:-1],
    "datasets.glue.sentiment.score": "matthews_correlation",
    "datasets.glue.others.score": "f1",
    "datasets.math.*.benchmarks.*": "word-problems/train",
    "datasets.math.*.metrics": ["strict", "lenient", "official"],
    "datasets.math.*.score": SWAPPED.get,
    "datasets.subject.*.prompts": "live",
    "tasks.glue.model": "word-problems-llama",
    "tasks.math.model": "minilm-l6",
    "tasks.*.model": "word-problems-llama",
    "tasks.*.preset": "other",
    "tasks.*.tune": {"search": {"learning_rate": [1e-3, 2e-3]}, "trials": 2},
    "tasks.*.grid.*.runs": lambda value: [*value, "lora/r16"],
    "tasks.*.grid.*.seeds": lambda value: [*value, 7],
    "tasks.glue.grid.*.datasets": lambda value: [*value, "cola"],
    "tasks.math.grid.*.datasets": lambda value: [*value, "metamathqa-40k"],
    "tasks.subject.grid.*.datasets": lambda value: [*value, "backpack"],
    "tasks.control.grid.*.datasets": lambda value: [*value, "spare"],
    "tasks.*.resources.gpu": 2,
    "tasks.*.held_out.rows": 50,
    "tasks.math.generation.serve": "merged",
    "tasks.math.retention.runs": lambda value: [*value, "full/all"],
    "tasks.math.retention.base": "lora/r8",
    "tasks.math.retention.seeds": [0, 7],
    "tasks.math.compute.runs": ["lora/r8", "base/pretrained"],
    "tasks.math.retention.benchmarks.HumanEval.metric": "pass@2",
    "tasks.math.retention.include_path": "config",
    "tasks.subject.evaluation.evaluators.0.kind": "dino",
    "tasks.*.crop": "hra_workflow.demo.prompt_fidelity:PromptFidelity",
    "tasks.glue.columns.[01].dataset": SWAPPED.get,
    "tasks.control.columns.[01].dataset": "spare",
    "tasks.glue.columns.*.benchmark": "again",
    "tasks.math.columns.*.benchmark": "again",
    "tasks.*.columns.*.metric": SWAPPED.get,
    "tasks.glue.figures.*": lambda value: [*value, "Others"],
    "tasks.math.figures.lambda": ["Word problems (strict)"],
    "tasks.subject.figures.lambda": ["Prompt fidelity (position and background in pixels)"],
    "tasks.control.figures.lambda": ["Edges IoU"],
    "tasks.math.figures.parameters": lambda value: [*value, "Word problems (lenient)"],
}
# What has no other legal value, as it fits a kind, an architecture, labels or the name in a column.
NO_OTHER = """
preflight *.source.kind models.*.architecture methods.*.kind methods.*.type methods.boft.*.peft.*
datasets.glue.*.metrics datasets.glue.*.score datasets.control.scenes-canny.evaluators
datasets.control.s*[ye].hint datasets.control.scenes-points.splits.validation.annotation.kind
tasks.glue.averages.0.name tasks.glue.columns.[01].name tasks.math.columns.[01].name
tasks.subject.columns.[01].name tasks.control.columns.[024].name tasks.glue.columns.2.dataset
tasks.math.columns.*.dataset tasks.control.columns.[2-6].dataset tasks.[sc]*.columns.*.benchmark
tasks.*.columns.*.better tasks.*.evaluation.evaluators.*.name tasks.control.evaluation.evaluators.*.kind
tasks.subject.evaluation.evaluators.[12].kind tasks.math.retention.dataset
"""
# Leaves that repeat something else than the class of their key.
RERUN_EXCEPTIONS = {
    "datasets.glue.*.benchmarks.again": "evaluation",  # only the first benchmark selects the best step
    "tasks.math.retention.benchmarks.HumanEval.[mst]*": "nothing",  # unsafe_code is false, so it is not run
    "tasks.math.retention.seeds": "nothing",  # the grid has no other seed
    "pathvars.resources": "nothing",  # until a job needs one of the files
}


def demo_config() -> dict:
    config = paper_config()
    for text in ((ROOT / "config/demo/config.yaml").read_text(), MORE):
        update_config(config, yaml.safe_load(text))
    config["tasks"]["control"]["evaluation"]["evaluators"][0]["version"] = 1
    config["datasets"]["control"]["spare"] = copy.deepcopy(config["datasets"]["control"]["scenes-canny"])
    for presets in config["presets"].values():
        presets["other"] = copy.deepcopy(presets["demo"])
        presets["other"]["all"]["weight_decay"] = 0.5
    return config


def another(config: dict, leaf: Leaf) -> Any:
    """Return another legal value of a leaf, or None."""
    value, name = at(config, leaf.path), str(leaf)
    for pattern, given in VALUES.items():
        if fnmatchcase(name, pattern):
            return (None if value is None else given(value)) if callable(given) else given
    return None if any(fnmatchcase(name, pattern) for pattern in NO_OTHER.split()) else other(leaf, value)
