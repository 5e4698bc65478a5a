"""A result records what it is made from; a job that expects something else refuses it, and names the difference."""

from functools import partial

import pytest
from PIL import Image

import evaluate_control
import evaluate_math
import evaluate_subject
import gather_images
import gather_outputs
import train_subject
from hra_workflow.core import files, made_from, predictions, records
from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from hra_workflow.models import adapters
from hra_workflow.tasks.subject import sheet as subject_sheet
from image_files import picture

RUN = {"task": "math", "dataset": "d", "method": "hra", "variant": "r8", "seed": "0"}
EVALUATION = RUN | {"benchmark": "b"}
SETTINGS = {"method": {"kind": "hra"}, "sampling": {"inference_steps": 3}}
HEAD = {"result": "math/d/hra/r8/0/b", "settings": SETTINGS, "before": {"record": "0123"}, "inputs": {}}
# What another run, weights, config or version makes, and how it is named.
OTHERS = {
    "run": (HEAD | {"result": "math/d/lora/r4/0/b"}, "result math/d/lora/r4/0/b, now math/d/hra/r8/0/b"),
    "weights": (HEAD | {"inputs": {"run/train.json": "b" * 64}}, r"inputs.run/train.json bbbbbbbbbbbb…, now \w{12}…"),
    "config": (
        HEAD | {"settings": SETTINGS | {"sampling": {"inference_steps": 1}}},
        "sampling.inference_steps 1, now 3",
    ),
    "config of the training": (HEAD | {"before": {"record": "4567"}}, "before.record 4567, now 0123"),
    "version": ({}, "does not record what it was made from"),
}
EXPECTED = {name: HEAD[name] for name in ("result", "settings", "before")}
OF_TRAINING = {"result": "math/d/hra/r8/0", "settings": {"task_version": 1}, "before": {}}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return the folder of a benchmark in that of a run."""
    monkeypatch.chdir(tmp_path)
    record = RUN | {"seed": 0, "status": "ok", "steps": 5, "weights_sha256": {}, "data_sha256": "0"}
    record |= {"made_from": OF_TRAINING | {"inputs": {}}}
    records.write(tmp_path / "run/train.json", record)
    (tmp_path / "run/b").mkdir()
    return tmp_path / "run/b"


def job(place, input: dict, **params) -> dict:
    output = {name: str(place / f"out-{name}") for name in ("outputs", "images", "metrics", "predictions")}
    given = {"record": str(place.parent / "train.json")} | {name: str(path) for name, path in input.items()}
    before = {"record": OF_TRAINING} | dict.fromkeys(("images", "outputs", "shards"), EXPECTED)
    params = {"expects": {"settings": [], "before": before}, "device": "cpu"} | params
    return {"input": given, "output": output, "params": params, "wildcards": EVALUATION, "resources": {}, "threads": 1}


def readers_of_images(place, path) -> dict:
    """Return whatever reads the images of a run, as functions without arguments."""
    dataset = place / "d.manifest.json"
    files.write_json(dataset, {"rows": {"validation": 1}, "folder": ".", "files": {}})
    picture().save(place / "subject.png")
    given = {"images": path, "dataset": dataset, "shards": path}
    evaluation = {"evaluators": [], "best_by": ["blocked"], "prompts": ["x"], "prompts_class": ["x"]}
    settings = {"evaluation": evaluation, "task_version": 1}
    made = job(place, given, **settings)
    return {
        "gather": partial(gather_images.main, made),
        "evaluate_subject": partial(evaluate_subject.main, made),
        "evaluate_control": partial(evaluate_control.generated, made, 1),
    }


@pytest.mark.parametrize("other", OTHERS)
def test_images_that_were_not_made_by_the_run_and_its_config_are_refused(place, other):
    head, message = OTHERS[other]
    path = place / "images.tar"
    about = {"blocked": False, "step": 5, "prompt_index": 0, "index": 0, "row": 0}
    images.pack(path, [images.Picture("row000000", images.to_png(picture((8, 8))), about)], head=head)
    for read in readers_of_images(place, path).values():
        with pytest.raises(JobError, match=rf"images\.tar: expected the result .*{message}.* Delete it and run"):
            read()
    if not other.startswith("config"):  # sheets show what was evaluated
        for show in (partial(subject_sheet.last_images, str(path), {0: ""}), partial(made_from.check_own, path, head)):
            with pytest.raises(JobError, match=message):
                show()


@pytest.mark.parametrize("other", OTHERS)
def test_answers_that_were_not_made_by_the_run_and_its_config_are_refused(place, other, monkeypatch):
    head, message = OTHERS[other]
    files.write_json(place / "d.manifest.json", {"rows": {"test": 1}})
    line = {"benchmark": "b", "item": 0, "output": "The answer is: 7"}
    predictions.write(place / "outputs.jsonl.gz", [line], head)
    gather = job(place, {"shards": place / "outputs.jsonl.gz", "dataset": place / "d.manifest.json"})
    gather["params"] |= {"benchmark": "b", "split": "test"}
    monkeypatch.setattr(evaluate_math, "gold_answers", lambda *_: ["7"])
    evaluate = job(place, {"outputs": place / "outputs.jsonl.gz", "dataset": place / "d.manifest.json"})
    evaluate["params"] |= {"answer": "gsm8k", "split": "test", "metrics": ["lenient"]}
    for main, made in ((gather_outputs.main, gather), (evaluate_math.main, evaluate)):
        with pytest.raises(JobError, match=rf"outputs\.jsonl\.gz: expected the result .*{message}.* Delete it and run"):
            main(made)


def test_a_record_that_is_not_what_the_config_specifies_is_refused(place):
    """As that of a training whose Snakemake was killed, which has ended after the config changed."""
    predictions.write(place / "outputs.jsonl.gz", [], HEAD)
    evaluate = job(place, {"outputs": place / "outputs.jsonl.gz", "dataset": place / "d.manifest.json"})
    evaluate["params"]["expects"]["before"]["record"] = OF_TRAINING | {"settings": {"task_version": 2}}
    with pytest.raises(JobError, match=r"train\.json: .* task_version 1, now 2\. Delete it"):
        evaluate_math.main(evaluate | {"params": evaluate["params"] | {"answer": "gsm8k"}})


def test_inputs_that_have_changed_since_are_named(tmp_path):
    manifest = str(tmp_path / "dino.manifest.json")
    files.write_json(manifest, {"sha256": "c" * 64})
    made = {"input": {"models": [manifest]}, "params": SETTINGS, "wildcards": EVALUATION}
    found = made_from.describe(made)
    assert not made_from.list_differences(found, {"settings": SETTINGS})
    files.write_json(manifest, {"sha256": "d" * 64})
    assert made_from.list_differences(found, {}) == [f"inputs.{manifest} cccccccccccc…, now dddddddddddd…"]
    (tmp_path / "dino.manifest.json").unlink()  # then nothing is known
    assert not made_from.list_differences(found, {})


def test_what_a_job_expects_is_in_its_results(tmp_path):
    """Only the settings count, and the results before by their digests; shards of one result are made from the same."""
    manifest = str(tmp_path / "train.json")
    records.write(manifest, {"a": 1})
    about = {"settings": ["method"], "before": {"record": OF_TRAINING, "several": [OF_TRAINING, EXPECTED]}}
    made = {"input": {"record": manifest, "chosen": manifest, "last": "x.safetensors"}, "wildcards": EVALUATION}
    made |= {"params": {"method": {"kind": "hra"}, "scratch": "s", "expects": about}}
    found = made_from.describe(made)
    assert found["settings"] == {"method": {"kind": "hra"}} and found["inputs"] == {
        manifest: records.read(manifest)["sha256"]
    }
    assert found["before"] == {name: made_from.digest_of(one) for name, one in about["before"].items()}
    shard = made | {"wildcards": EVALUATION | {"shard": "1", "n_shards": "2"}}
    assert made_from.describe(shard) == found


def test_what_a_training_starts_from_is_what_the_config_asks_for(tmp_path):
    """Class images, and the manifests of initial adapters; test_control_scripts.py has control images."""

    def of(name: str, path, settings: dict) -> dict:
        return {
            "input": {name: str(path)},
            "params": {"expects": {"settings": [], "before": {name: {"settings": settings}}}},
        }

    images.pack(
        tmp_path / "dog.tar",
        [images.Picture("a", images.to_png(Image.new("RGB", (8, 8))), {})],
        head=HEAD | {"result": "dog"},
    )
    assert len(train_subject.class_images(of("class_images", tmp_path / "dog.tar", SETTINGS))) == 1
    with pytest.raises(JobError, match=r"dog\.tar: .* seed null, now 1"):
        train_subject.class_images(of("class_images", tmp_path / "dog.tar", SETTINGS | {"seed": 1}))

    manifest, given = tmp_path / "manifest.json", of("augmented", tmp_path / "manifest.json", SETTINGS)
    files.write_json(manifest, {"folder": ".", "files": {}, "made_from": {"settings": SETTINGS}})
    assert adapters.initial_folder(given) == tmp_path
    files.write_json(manifest, {"folder": ".", "files": {}, "made_from": {"settings": SETTINGS | {"seed": "1"}}})
    with pytest.raises(JobError, match=r"manifest\.json: .* seed 1, now null"):
        adapters.initial_folder(given)
