"""A config that cannot be run is one clear message."""

import re

import pytest

from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.core.errors import JobError
from support import put

NAMED = ["models", "methods", "methods.hra.variants", "tasks.math.retention.benchmarks"]
NAMED += [f"datasets.{task}" for task in ("glue", "math", "subject", "control")]
NAMED += ["datasets.glue.cola.splits", "datasets.glue.cola.benchmarks", "datasets.math.metamathqa-40k.benchmarks"]


@pytest.mark.parametrize("place", NAMED)
def test_names_that_would_leave_their_folder_or_match_others_are_refused(config, place):
    entries = config
    for key in place.split("."):
        entries = entries[key]
    some = next(iter(entries.values()))
    for name in ("../../x", "a/b", ".x", "-x", "r2+gs", "a b", "a|b", "a\n", "", "ä"):
        entries[name] = some
        with pytest.raises(
            JobError, match=rf"config: {place}: .*letters, digits, _, and after .*, found {re.escape(repr(name))}"
        ):
            validation.check(config)
        del entries[name]
    entries["r2.5_x-y"] = some
    config["tasks"]["math"]["generation"]["max_new_tokens"]["r2.5_x-y"] = 8
    validation.check(config)


@pytest.mark.parametrize("folder", ["", "results/", "{task}", "<results>", "a\n"])
def test_folders_that_rules_could_not_match_are_refused(config, folder):
    config["pathvars"]["results"] = folder
    with pytest.raises(JobError, match=r"config: pathvars.results: .*a folder, without braces"):
        validation.check(config)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tasks.glue.sedes", [1], r"tasks.glue.sedes: unknown key; known keys: averages, "),
        ("methods.hra.variants.r8.peft.rank", 8, r"peft.rank: unknown key; known keys: apply_GS, bias, init_s"),
        ("methods.hra.variants.r8.lambda", "1e-5", r"lambda: expected a number, found '1e-5'.*write 1.0e-5"),
        ("methods.hra.kind", "hrra", r"methods.hra.kind: expected 'hra', 'lora', .*, found 'hrra'"),
        ("methods.hra.variants.r8.peft.r", 7, r"peft.r is 7; the paired initialisation .* even r"),
        ("methods.lora.variants.r8.lambda", 0.1, r"lambda is for kind hra, this is lora"),
        (
            "methods.oft.variants.b16.peft.r",
            4,
            r"variants.b16: expected one of peft.r and .*, found r and oft_block_size",
        ),
        ("methods.oft.variants.b16.peft", {}, r"variants.b16: expected one of peft.r and .*, found neither"),
        ("methods.boft.variants.m4r8.peft.boft_block_num", 12, r"4 butterfly factors need .* multiple of 8; found 12"),
        ("methods.boft.variants.m2b8.peft.boft_block_size", 3, r"2 butterfly factors need an even .*; found 3"),
        ("methods.full.variants.all.targets", "paper", r"kind full inserts no adapter"),
        ("methods.hra.variants.r8.targets", "attention", r"unknown list 'attention'; known: paper"),
        ("tasks.glue.preset.hra", "tabel5", r"unknown preset 'tabel5'; known: table5-lambda0"),
        ("tasks.glue.preset.hraa", "code-head", r"unknown method or variant 'hraa'; known: default, real"),
        ("tasks.glue.model", "bert", r"tasks.glue.model: unknown model 'bert'; known: deberta-v3-base"),
        ("tasks.glue.resources.runs_per_gpu", 7, r"expected at most 6 or a mapping, found 7"),
        ("tasks.glue.resources.runs_per_gpu", {"bofft": 2}, r"runs_per_gpu: unknown method or variant 'bofft'"),
        ("tasks.control.resources.runs_per_gpu", 2, r"expected gpu: 1 with runs_per_gpu: 2, found gpu: 8"),
        ("tasks.control.resources.max_gpu.bofft", 2, r"max_gpu: unknown method or variant 'bofft'; known: default"),
        ("tasks.control.resources.max_gpu.oft", 3, r"oft/r4 .*batch_size 16 is not a multiple of gpu × .* = 3"),
        ("tasks.control.latents.resources.max_gpu", {}, r"latents.resources: max_gpu is of training only. Remove it"),
        ("tasks.math.resources.runs_per_gpu", 2, r"expected runs_per_gpu: 1, since table_compute reports times"),
        ("tasks.math.generation.resources.runs_per_gpu", 2, r"runs_per_gpu is of training only. Remove it"),
        ("tasks.glue.resources.gpu", 3, r"batch_size 32 is not a multiple of gpu × gradient_accumulation = 3"),
        ("tasks.glue.grid.0.runs", ["full"], r"grid\[0\].runs: unknown run 'full'; known: .*full/all, .*, hra/r8, "),
        ("tasks.math.grid.0.runs", ["hra/r9"], r"math.grid\[0\].runs: unknown run 'hra/r9'; known: .*, hra/r8, "),
        ("tasks.math.retention.runs", ["hra"], r"retention.runs: unknown run 'hra'; known: .*, hra/r8, "),
        ("tasks.glue.grid.0.datasets", ["wnli"], r"unknown dataset 'wnli'; known: mnli"),
        ("tasks.glue.grid.0.seeds", ["one"], r"seeds.0: expected an integer, found 'one'"),
        ("tasks.glue.resources.save_seconds", 0.4, r"save_seconds: expected an integer, found 0.4"),
        ("tasks.glue.resources.save_seconds", 9, r"save_seconds: expected at least 10, found 9"),
        ("datasets.glue.cola.score", "f1", r"cola: score: unknown metric 'f1'"),
        (
            "datasets.glue.mnli.metrics",
            ["accuracy", "f1"],
            r"mnli: metrics: f1 is for two classes, found 3 classes. Use one of accuracy, macro_f1$",
        ),
        ("datasets.glue.stsb.metrics", ["accuracy"], r"accuracy is for classes, .* a regression. Use one of pearson,"),
        ("datasets.glue.cola.metrics", ["mcc"], r"metrics: expected one of accuracy, .*module:name .*, found 'mcc'"),
        ("datasets.glue.cola.source.revision", "v1", r"revision: expected a commit, or main, found 'v1'"),
        ("datasets.glue.cola.rows", {"tets": 9}, r"glue.cola.rows: unknown split 'tets'; known: train, validation"),
        ("datasets.math.gsm8k.take", {"tets": 9}, r"math.gsm8k.take: unknown split 'tets'; known: train, test"),
        ("datasets.glue.cola.benchmarks", {"validation": "dev"}, r"unknown split 'dev'; known: train, validation"),
        ("tasks.math.prompt.template", "Q: A:", r"prompt.template: expected a text with \{question\}, found 'Q: A:'"),
        (
            "tasks.math.generation.max_new_tokens",
            {"gsm8k": 512},
            r"max_new_tokens: unknown benchmark 'math'; known: gsm8k",
        ),
        ("tasks.math.generation.backend", "tgi", r"backend: expected 'auto', 'transformers' or 'vllm', found 'tgi'"),
        ("models.stable-diffusion-v1-5.architecture", "sd", r"unknown architecture 'sd'; known: stable-diffusion, "),
        (
            "tasks.control.model",
            "flux2-klein-base-4b",
            r"expected a model of Stable Diffusion 1.x and 2.x, found flux2",
        ),
        ("tasks.subject.generation.shards", "all", r"shards: expected an integer or 'auto', found 'all'"),
        ("tasks.control.generation.shards", 0, r"expected more than 0 or 'auto', found 0"),
        ("tasks.math.retention.dataset", "meta", r"retention.dataset: unknown dataset 'meta'; known: metamathqa-40k"),
        ("tasks.math.retention.base", "hra/r9", r"retention.base: unknown run 'hra/r9'; known: base/pretrained"),
        (
            "tasks.math.retention.benchmarks",
            {"HumanEval": {"task": "humaneval", "shots": 0, "metric": "pass@1", "unsafe_code": False}},
            r"retention.benchmarks: all have `unsafe_code: false`",
        ),
        (
            "tasks.math.retention.benchmarks.HumanEval",
            {"task": "humaneval", "shots": 0, "metric": "exact_match", "unsafe_code": True},
            r"HumanEval: metric: expected pass@k or pass_at_k with `unsafe_code: true`, found 'exact_match'",
        ),
        ("tasks.math.general_text.source", "gsm8k/test", r"unknown dataset with a column text 'gsm8k'; known: wik"),
        ("tasks.math.general_text.source", "wikitext-2/train", r"text.source: unknown split 'train'; known: test"),
        (
            "tasks.glue.evaluation",
            None,
            r"glue.evaluation: unknown key; known keys: ",
        ),
        (
            "tasks.subject.tune",
            {},
            r"subject.tune: unknown key; known keys: ",
        ),
        ("datasets.math.wikitext-2.answer", "gsm8k", r"wikitext-2: general text has no answer. Remove it"),
        ("datasets.math.gsm8k.columns", {"question": "q"}, r"expected question and answer, or text alone"),
        ("datasets.math.metamathqa-40k.benchmarks", {"general_text": "gsm8k/test"}, r"Choose another name"),
        ("tasks.math.compute.runs", ["hra/r9"], r"math.compute.runs: unknown run 'hra/r9'; known: "),
        ("tasks.math.grid.0.datasets", ["gsm8k"], r"unknown dataset 'gsm8k'; known: metamathqa-40k, metamathqa-395k"),
        ("tasks.math.figures.lambda", ["GSM8K"], r"figures.lambda: unknown column 'GSM8K'; known: GSM8K \(official\)"),
        ("datasets.math.metamathqa-40k.benchmarks", {"gsm8k": "gsm8k/dev"}, r"unknown split 'dev'; known: train, test"),
        ("datasets.math.gsm8k.answer", "hash", r"answer: expected 'gsm8k', .*, found 'hash'"),
        ("tasks.subject.prompts.object", ["a dog"], r"object.0: expected a prompt with \{subject\}, found 'a dog'"),
        ("datasets.subject.dog.prompts", "lively", r"dog.prompts: unknown list 'lively'; known: object, live"),
        (
            "datasets.subject.vase.class",
            "stuffed_animal",
            r"'stuffed_animal' and 'stuffed animal' would share a folder",
        ),
        ("tasks.subject.evaluation.best_by", ["fid"], r"best_by: unknown metric 'fid'; known: dino, clip_i"),
        (
            "tasks.subject.evaluation.evaluators.0.model",
            "dino",
            r"evaluators: dino: unknown model 'dino'; known: deberta",
        ),
        ("tasks.subject.evaluation.evaluators", [{"name": "f", "kind": "dino"}], r"f: kind dino needs a model"),
        (
            "tasks.subject.evaluation.evaluators",
            [{"name": "f", "kind": "hra_workflow.demo.prompt_fidelity:PromptFidelity", "crop": "a:b"}],
            r"f: .* no crop",
        ),
        (
            "tasks.subject.evaluation.evaluators",
            [{"name": "f", "kind": "fid", "model": "inception"}],
            r"f: kind fid needs source images, this task has references",
        ),
        (
            "tasks.subject.evaluation.evaluators",
            [{"name": "f", "kind": "dinosaur", "model": "inception"}],
            r"'dinosaur': expected one of dino, clip, .*, or a custom class as module:Class",
        ),
        ("tasks.subject.grid.0.datasets", ["dogs"], r"unknown dataset 'dogs'; known: backpack"),
        ("tasks.subject.columns.0.metric", "dinov2", r"columns: DINO: unknown metric 'dinov2'; known: dino"),
        ("tasks.subject.defaults.prior_weight", -1, r"prior_weight: expected at least 0, found -1"),
        ("tasks.control.grid.0.datasets", ["ade"], r"control.grid: unknown dataset 'ade'; known: ade20k"),
        (
            "datasets.control.coco.evaluators",
            ["ssim"],
            r"coco: evaluators: unknown evaluator 'ssim'; known: canny, mmseg",
        ),
        (
            "datasets.control.coco.evaluators",
            ["landmarks"],
            r"landmarks \(face-alignment\) needs an annotation of kind points",
        ),
        (
            "datasets.control.coco.hint",
            "cany",
            r"coco.hint: expected canny, segmentation, landmarks, or a custom .*, found 'cany'",
        ),
        ("datasets.control.coco.hint", "my-hints:depth", r"or a custom function as module:function"),
        (
            "datasets.control.coco.splits.train.image",
            "a.zip:b.jpg",
            r"train.image: expected a path with \{key\} or \*, found",
        ),
        (
            "datasets.control.coco.splits",
            {"train": {"prompts": "a", "image": "*"}},
            r"coco.splits: expected .*, found no validation",
        ),
        ("tasks.control.evaluation.evaluators.0.model", "inception", r"canny: kind canny has no model"),
        ("tasks.control.sheets.runs", ["hra/r9"], r"sheets.runs: unknown run 'hra/r9'; known: real/images"),
        (
            "tasks.subject.grid.0.runs",
            ["adalora/r8"],
            r"tasks.subject.grid\[0\]: adalora/r8: expected a kind that subject can run \(hra, lora, .*found adalora",
        ),
        ("tasks.control.grid.0.runs", ["adalora/r8"], r"adalora/r8: expected a kind that control can run .* adalora"),
        ("tasks.glue.grid.0.runs", ["controlnet/full"], r"a kind that glue can run .*, head, peft\), found controlnet"),
        ("tasks.glue.grid.0.runs", ["base/pretrained"], r"a kind that glue can run .*, head, peft\), found pretrained"),
        ("tasks.math.grid.2.runs", ["bitfit/all"], r"a kind that math can run .*, pretrained, peft\), found bitfit"),
        (
            "presets.glue.full.methods",
            {"hraa": {"epochs": 1}},
            r"presets.glue.full.methods: .*'hraa' \(is it 'hra'\?\)\. Use one of .*, hra, ",
        ),
        ("presets.math.full.methods", {"hra/r23": {"epochs": 1}}, r"'hra/r23' \(is it 'hra/r32'\?\)\. Use one of .*, "),
        (
            "presets.glue.full.datasets",
            {"my-rtee": {"epochs": 1}},
            r"full.datasets: .*'my-rtee'\. Use one of mnli, .*, rte",
        ),
        (
            "presets.math.boft-paper.all.gradient_accumulation",
            4,
            r"expected equal micro-batches .*, found lora/r16 16, oft/b16 16, hra/r32 8. "
            r"Make all of them 8 in presets.math: gradient_accumulation: 8 in boft-paper$",
        ),
        (
            "tasks.subject.defaults.gradient_checkpointing",
            "auto",
            r"tasks.subject: \S+ on \S+, preset \S+: gradient_checkpointing: expected true or false, found auto",
        ),
        ("tasks.math.defaults.head_learning_rate", 1e-3, r"tasks.math: .*: head_learning_rate is for .* Remove it$"),
        ("models.llama2-7b.targets.paper", "linear", r"paper: expected a list or 'all-linear' or 'default', found"),
        ("tasks.math.prompt.chat", "yes", r"prompt.chat: expected true or false or 'auto', found 'yes'"),
    ],
)
def test_a_wrong_config_is_one_clear_message(config, path, value, message):
    put(config, path, value)
    with pytest.raises(JobError, match=message) as problem:
        validation.check(config)
    lines = str(problem.value).splitlines()
    assert len(lines) <= 2 and all(line.startswith("config: ") for line in lines)  # one per task


@pytest.mark.parametrize(
    ("backend", "serve", "run"),
    [("transformers", "merged", "hra"), ("vllm", "merged", "base"), ("vllm", "lora", "base")],
)
def test_four_bits_are_neither_merged_into_nor_served_by_vllm(config, backend, serve, run):
    put(config, "tasks.math.defaults.quantization", "nf4")
    validation.check(config)
    config["tasks"]["math"]["generation"] |= {"backend": backend, "serve": serve}
    with pytest.raises(JobError, match=rf"tasks\.math: {run}/\S+ is on a 4-bit base model, .* Use `serve: adapter`"):
        validation.check(config)


@pytest.mark.parametrize(
    ("backend", "serve", "message"),
    [
        ("transformers", {"hra": "lora", "lora/r32": "lora", "default": "adapter"}, None),
        ("vllm", {"hra": "lora", "lora": "lora", "default": "merged"}, None),
        ("vllm", "merged", None),
        (
            "vllm",
            "adapter",
            r"lora/r32: vLLM cannot serve its adapter as trained .*`serve: lora`, .*\(kinds hra, lora\)",
        ),
        ("vllm", {"hra": "adapter", "default": "merged"}, r"hra/r8: vLLM cannot serve its adapter as trained"),
        ("transformers", "lora", r"oft/b16: expected a kind with an equivalent LoRA \(hra, lora\) .*, found oft"),
        ("transformers", {"hra": "lora"}, r"lora/r32: generation.serve has no value .* lora or default"),
        ("transformers", {"hra/r9": "lora", "default": "merged"}, r"serve: unknown method or variant 'hra/r9'"),
        ("transformers", "none", r"serve: expected 'auto', .* or a mapping, found 'none'"),
    ],
)
def test_an_adapter_is_served_as_stated_or_the_config_is_refused(config, backend, serve, message):
    config["tasks"]["math"]["generation"] |= {"backend": backend, "serve": serve}
    if message:
        with pytest.raises(JobError, match=message):
            validation.check(config)
        return
    validation.check(config)
    found = tasks.load(config)["math"].answer_settings("hra/r32")
    assert found["serve"] == (serve if isinstance(serve, str) else serve["hra"])
