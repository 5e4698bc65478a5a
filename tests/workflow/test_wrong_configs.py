"""A config that cannot be run is one clear message."""

import re

import pytest
import yaml

from hra_workflow.config import validation
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.models import diffusion
from support import put

NAMED = ["models", "methods.hra.variants", "tasks.math.retention.benchmarks", "datasets.control"]
NAMED += ["datasets.glue.cola.splits", "datasets.math.metamathqa-40k.benchmarks"]


@pytest.mark.parametrize("place", NAMED)
def test_names_that_would_leave_their_folder_or_match_others_are_refused(config, place):
    entries = config
    for key in place.split("."):
        entries = entries[key]
    some = next(iter(entries.values()))
    for name in ("../../x", "a/b", ".x", "-x", "r2+gs", "a b", "a|b", "a\n", "", "ä"):
        entries[name] = some
        found = re.escape(repr(name))
        with pytest.raises(JobError, match=rf"config: {place}: .*letters, digits, _, and after .*, found {found}"):
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


# A key, its wrong value in YAML, and a part of the message, as a regular expression.
WRONG = r"""
tasks.glue.sedes | [1] | tasks.glue.sedes: unknown key
methods.hra.variants.r8.lambda | 1e-5 | lambda: expected a number, found '1e-5'.*write 1.0e-5
methods.hra.kind | hrra | methods.hra.kind: expected 'hra', 'lora', .*, found 'hrra'
methods.lora.variants.r8.lambda | 0.1 | lambda is for kind hra, this is lora
methods.oft.variants.b16.peft.r | 4 | variants.b16: expected one of peft.r and .*, found r and oft_block_size
methods.full.variants.all.targets | paper | kind full inserts no adapter
methods.hra.variants.r8.targets | attention | unknown list 'attention'; known: paper
tasks.glue.preset.hra | tabel5 | unknown preset 'tabel5'; known: table5-lambda0
tasks.glue.preset.hraa | code-head | unknown method or variant 'hraa'; known: default, real
tasks.glue.model | bert | tasks.glue.model: unknown model 'bert'; known: deberta-v3-base
tasks.glue.resources.runs_per_gpu | 7 | expected at most 6 or a mapping, found 7
tasks.glue.resources.runs_per_gpu | {bofft: 2} | runs_per_gpu: unknown method or variant 'bofft'
tasks.control.resources.runs_per_gpu | 2 | expected gpu: 1 with runs_per_gpu: 2, found gpu: 8
tasks.control.resources.max_gpu.oft | 3 | oft/r4 .*batch_size 16 is not a multiple of gpu × .* = 3
tasks.control.hints.resources.max_gpu | {} | hints.resources: max_gpu is of training only. Remove it
tasks.math.resources.runs_per_gpu | 2 | expected runs_per_gpu: 1, since table_compute reports times
tasks.math.generation.resources.runs_per_gpu | 2 | runs_per_gpu is of training only. Remove it
tasks.glue.resources.gpu | 3 | batch_size 32 is not a multiple of gpu × gradient_accumulation = 3
tasks.glue.grid.0.runs | [full] | grid\[0\].runs: unknown run 'full'; known: .*full/all, .*, hra/r8,
tasks.glue.grid.0.datasets | [wnli] | unknown dataset 'wnli'; known: mnli
tasks.glue.grid.0.seeds | [one] | seeds.0: expected an integer, found 'one'
tasks.glue.grid.0.seeds | [4294967296] | seeds.0: expected at most 4294967295, found 4294967296
tasks.glue.grid.0.seeds | [1.0] | seeds.0: expected an integer, found 1.0; write 1$
tasks.glue.defaults.weight_decay | .nan | weight_decay: expected a finite number, found nan
tasks.glue.resources.save_seconds | 9 | save_seconds: expected at least 10, found 9
datasets.glue.cola.score | f1 | cola: score: unknown metric 'f1'
datasets.glue.mnli.metrics | [accuracy, f1] | mnli: metrics: f1 is for two classes, found 3 classes. Use one of accuracy, macro_f1$
datasets.glue.stsb.metrics | [accuracy] | accuracy is for classes, .* a regression. Use one of pearson,
datasets.glue.cola.metrics | [mcc] | metrics: expected one of accuracy, .*module:name .*, found 'mcc'
datasets.glue.cola.source.revision | v1 | revision: expected a commit, or main, found 'v1'
datasets.glue.cola.rows | {tets: 9} | glue.cola.rows: unknown split 'tets'; known: train, validation
tasks.math.prompt.template | 'Q: A:' | prompt.template: expected a text with \{question\}, found 'Q: A:'
tasks.math.generation.max_new_tokens | {gsm8k: 512} | max_new_tokens: unknown benchmark 'math'; known: gsm8k
tasks.math.generation.serve | lora | serve: expected 'adapter' or 'merged', found 'lora'
models.stable-diffusion-v1-5.architecture | sd | unknown architecture 'sd'; known: stable-diffusion,
tasks.control.model | flux2-klein-base-4b | expected a model of Stable Diffusion 1.x and 2.x, found flux2
tasks.subject.generation.shards | all | shards: expected an integer or 'auto', found 'all'
tasks.control.generation.shards | 0 | expected more than 0 or 'auto', found 0
tasks.math.retention.dataset | meta | retention.dataset: unknown dataset 'meta'; known: metamathqa-40k
tasks.math.retention.benchmarks | {H: {task: humaneval, shots: 0, metric: pass@1, unsafe_code: false}} | all have `unsafe_code: false`
tasks.math.retention.benchmarks.H | {task: humaneval, shots: 0, metric: em, unsafe_code: true} | expected pass@k or pass_at_k with .*, found 'em'
tasks.glue.evaluation | null | glue.evaluation: unknown key; known keys:
datasets.math.gsm8k.columns | {question: q} | columns.answer
tasks.math.compute.runs | [hra/r9] | math.compute.runs: unknown run 'hra/r9'; known:
tasks.math.figures.lambda | [GSM8K] | figures.lambda: unknown column 'GSM8K'; known: GSM8K \(official\)
datasets.math.gsm8k.answer | hash | answer: expected 'gsm8k', .*, found 'hash'
tasks.subject.prompts.object | [a dog] | object.0: expected a prompt with \{subject\}, found 'a dog'
datasets.subject.dog.prompts | lively | dog.prompts: unknown list 'lively'; known: object, live
datasets.subject.vase.class | stuffed_animal | 'stuffed_animal' and 'stuffed animal' would share a folder
tasks.subject.evaluation.best_by | [fid] | best_by: unknown metric 'fid'; known: dino, clip_i
tasks.subject.evaluation.evaluators.0.model | dino | evaluators: dino: unknown model 'dino'; known: deberta
tasks.subject.evaluation.evaluators | [{kind: dino, name: f}] | f: kind dino needs a model
tasks.subject.evaluation.evaluators | [{name: f, kind: 'hra_workflow.demo.prompt_fidelity:PromptFidelity', crop: 'a:b'}] | f: .* no crop
tasks.subject.evaluation.evaluators | [{kind: fid, model: inception, name: f}] | f: kind fid needs source images, this task has references
tasks.subject.evaluation.evaluators | [{kind: dinosaur, model: inception, name: f}] | 'dinosaur': expected one of dino, clip, .* or a custom class as module:C
tasks.subject.columns.0.metric | dinov2 | columns: DINO: unknown metric 'dinov2'; known: dino
tasks.subject.defaults.prior_weight | -1 | prior_weight: expected at least 0, found -1
datasets.control.coco.evaluators | [landmarks] | landmarks \(face-alignment\) needs an annotation of kind points
datasets.control.coco.hint | cany | coco.hint: expected 'canny', 'segmentation' or 'landmarks', found 'cany'
datasets.control.coco.splits.train.image | a.zip:b.jpg | train.image: expected a path with \{key\} or \*, found
datasets.control.coco.splits | {train: {image: '*', prompts: a}} | coco.splits: expected .*, found no validation
tasks.control.evaluation.evaluators.0.model | inception | canny: kind canny has no model
tasks.subject.grid.0.runs | [adalora/r8] | adalora/r8: expected a kind that subject can run \(hra, lora, .*found adalora
methods.adalora.variants.r8.budget | {initial: 0.6, final: 0.5} | adalora.variants.r8.budget: expected initial \+ final ≤ 1, found 0.6 \+ 0.5
tasks.glue.grid.0.runs | [controlnet/full] | a kind that glue can run .*, head, peft\), found controlnet
presets.glue.full.methods | {hraa: {epochs: 1}} | presets.glue.full.methods: .*'hraa' \(is it 'hra'\?\)\. Use one of .*, hra,
presets.math.boft-paper.all.gradient_accumulation | 4 | found lora/r16 16, oft/b16 16, hra/r32 8. Change gradient_accumulation in presets.math
tasks.math.defaults.gradient_checkpointing | auto | gradient_checkpointing: expected true or false, found 'auto'
tasks.math.defaults.head_learning_rate | 0.001 | tasks.math: .*: head_learning_rate is for .* Remove it$
models.llama2-7b.targets.paper | linear | paper: expected a list or 'all-linear' or 'default', found
tasks.math.prompt.chat | 'yes' | prompt.chat: expected true or false or 'auto', found 'yes'
methods.hra.variants.r8.label | LoRA, r=8 | tasks.\w+.grid: `label` .* found 'LoRA, r=8' more than once
datasets.glue.cola.benchmarks | {training: train, validation: validation} | datasets.glue.cola.benchmarks: expected every name once, found 'training'
datasets.glue.cola.labels | [a, a] | datasets.glue.cola.labels: .*every entry once
tasks.subject.evaluation.best_by | [dino, dino] | evaluation.best_by: .*every entry once
tasks.subject.evaluation.evaluators | [{name: lpips, kind: lpips-vgg, model: lpips-vgg}, {name: lpips, kind: clip, model: clip}] | every name once, found 'lpips'
tasks.subject.evaluation.evaluators | [{name: blocked, kind: 'hra_workflow.demo.prompt_fidelity:PromptFidelity'}] | every metric once, found 'blocked
tasks.math.retention.benchmarks.ARC_std | {task: arc_challenge, shots: 25, metric: acc} | found 'ARC_std'. Change the name
"""  # noqa: E501


@pytest.mark.parametrize(("path", "value", "message"), [line.split(" | ") for line in WRONG.strip().splitlines()])
def test_a_wrong_config_is_one_clear_message(config, path, value, message):
    put(config, path, yaml.safe_load(value))
    with pytest.raises(JobError, match=message) as problem:
        validation.check(config)
    lines = str(problem.value).splitlines()
    assert len(lines) <= 2 and all(line.startswith("config: ") for line in lines)  # one per task


def test_hra_is_not_merged_into_four_bits(config):
    put(config, "tasks.math.defaults.quantization", "nf4")
    validation.check(config)
    config["tasks"]["math"]["generation"]["serve"] = "merged"
    with pytest.raises(JobError, match=r"hra/\S+: .*serve: expected adapter, .* 4-bit base model, found merged"):
        validation.check(config)


def test_a_model_of_an_unknown_architecture_is_refused_with_the_known_ones(config, tmp_path):
    files.write_json(tmp_path / "model_index.json", {"_class_name": "KandinskyPipeline"})
    config["models"]["own"] = {"source": {"kind": "local", "path": str(tmp_path)}, "head": [], "targets": {}}
    config["tasks"]["subject"]["model"] = "own"
    with pytest.raises(JobError, match=r"StableDiffusionXLPipeline \(Stable Diffusion XL\); .*found Kandinsky"):
        diffusion.of_model(config, "own")
    config["models"]["own"]["architecture"] = "flux2-klein"
    files.write_json(tmp_path / "model_index.json", {"_class_name": "StableDiffusionXLPipeline"})
    with pytest.raises(JobError, match=r"own.architecture: expected stable-diffusion-xl, .*found flux2-klein"):
        diffusion.of_model(config, "own")


def test_control_images_are_computed_or_given(config):
    del config["datasets"]["control"]["celeba-hq"]["hint"]
    validation.check(config)
    del config["datasets"]["control"]["celeba-hq"]["splits"]["validation"]["control"]
    with pytest.raises(JobError, match=r"celeba-hq: expected `hint`, or `control` in every split, .*for validation"):
        validation.check(config)


def test_flow_matching_has_a_scheduler_of_its_own(config):
    config["tasks"]["subject"]["model"] = "flux2-klein-base-4b"
    validation.check(config)
    config["tasks"]["subject"]["class_images"]["scheduler"] = "dpm-solver++"
    with pytest.raises(JobError, match=r"class_images.scheduler: expected model, found dpm.*FLUX.2 klein"):
        validation.check(config)
