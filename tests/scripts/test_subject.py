"""Subjects: every method there and back, killed and resumed, the same images from any shards, what is judged how."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

import augment
import evaluate_subject
import gather_images
import generate_class_images
import generate_subject
import subjects as tiny
import train_subject
from common import diffusion, files, images, judging, outputs, shards
from common import subjects as grid
from common.job import JobError
from subjects import PROMPTS, TARGETS
from support import ROOT, method

PEFT = {"oft": {"r": 2}, "boft": {"boft_block_size": 4, "boft_n_butterfly_factor": 1}}


def unet_method(kind: str = "hra", peft: dict | None = None, **changes) -> dict:
    found = method(kind, targets=TARGETS, **changes)
    if kind in ("full", "pretrained", "reference"):
        return found | {"targets": None, "peft": None}
    return found | {"peft": peft or PEFT.get(kind, found["peft"])}


@pytest.fixture(autouse=True)
def fresh_accelerator():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def train(run) -> dict:
    train_subject.main(run.train)
    return files.read_json(run.train["output"]["record"])


def drawn(run, of: int = 1, steps=(2, 4, 5), **sampling) -> list[images.Picture]:
    for shard in range(of):
        generate_subject.main(run.generate(shard, of, steps, **sampling))
    job = run.gather(of, steps, sampling.get("images", 2))
    gather_images.main(job)
    return list(images.unpack(job["output"]["images"]))


def pixels(picture: images.Picture) -> numpy.ndarray:
    return numpy.asarray(picture.image, int)


@pytest.mark.parametrize("kind", ["hra", "lora", "oft", "boft", "full"])
def test_every_method_learns_and_each_saved_epoch_is_another_model(make_subject_run, kind):
    run = make_subject_run(unet_method(kind))
    record = train(run)
    assert record["steps"] == 5 and record["score"] == "loss" and len(record["curve"]) == 5
    assert record["adapter_parameters"] == record["trainable_parameters"] > 0
    assert sorted(os.listdir(run.train["output"]["steps"])) == ["2", "4"]
    assert not Path(run.train["params"]["scratch"], "attempts.json").exists()
    made = drawn(run)
    assert [picture.key for picture in made] == [grid.key(item) for item in grid.items([2, 4, 5], 3, 2)]
    by_step = {step: [pixels(one) for one in made if one.about["step"] == step] for step in (2, 4, 5)}
    assert abs(by_step[2][0] - by_step[5][0]).max() > 0
    assert [one.about["seed"] for one in made[:6]] == [one.about["seed"] for one in made[6:12]]


@pytest.mark.parametrize("changes", [{"lambda": 1e-3}, {"peft": {"r": 4, "apply_GS": True}}])
def test_penalty_and_gram_schmidt_move_the_training(make_subject_run, changes):
    plain, other = make_subject_run(unet_method()), make_subject_run(unet_method(**changes), "other")
    for run in (plain, other):
        train(run)
    weights = [load_file(run.weights["last"]) for run in (plain, other)]
    assert any((weights[0][name] - weights[1][name]).abs().max() > 1e-6 for name in weights[0])


def test_accumulated_steps_are_those_of_the_whole_batch(make_subject_run):
    whole, parts = make_subject_run(unet_method()), make_subject_run(unet_method(), "parts", gradient_accumulation=2)
    for run in (whole, parts):
        train(run)
    for name, weight in load_file(whole.weights["last"]).items():
        assert torch.allclose(weight, load_file(parts.weights["last"])[name], atol=2e-4), name


def test_without_prior_no_class_image_is_read(make_subject_run):
    run = make_subject_run(unet_method(), prior_weight=0.0)
    Path(run.class_images()["output"]["shard"]).unlink()
    assert train(run)["steps"] == 5


@pytest.mark.parametrize("precision", ["bf16"])
def test_half_precision_trains_and_draws(make_subject_run, precision):
    run = make_subject_run(unet_method(), precision=precision)
    assert train(run)["hyperparameters"]["precision"] == precision
    assert len(drawn(run, steps=[5], precision=precision)) == 6


def test_a_training_that_is_told_to_stop_goes_on_and_ends_with_the_same_numbers(make_subject_run, monkeypatch):
    from common import dreambooth, training

    calm, disturbed = make_subject_run(unet_method()), make_subject_run(unet_method(), "disturbed")
    train(calm)
    plain = dreambooth.Trainer.step

    def step(self, number):
        found = plain(self, number)
        if number in (0, 2) and number >= self.stop_from:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(dreambooth.Trainer, "step", step)
    for stop_from in (0, 1):
        monkeypatch.setattr(dreambooth.Trainer, "stop_from", stop_from, raising=False)
        with pytest.raises(training.Interrupted, match=r"stopped at step \d of 5: signal SIGTERM"):
            train_subject.main(disturbed.train)
    monkeypatch.setattr(dreambooth.Trainer, "stop_from", 9, raising=False)
    record = train(disturbed)
    assert record["resumed_from"] == [1, 3] and record["attempts"] == 3
    assert record["curve"] == files.read_json(calm.train["output"]["record"])["curve"]
    for path in ("last", "steps/2", "steps/4"):
        first, second = (
            load_file(run.folder / "run" / path / "adapter_model.safetensors") for run in (calm, disturbed)
        )
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_any_number_of_shards_gives_the_same_images(make_subject_run):
    run = make_subject_run(unet_method())
    train(run)
    one, three, seven = (drawn(run, of) for of in (1, 3, 7))
    assert one == three == seven
    # Other batches, other rounding: at most one grey level.
    for size in (1, 3):
        for first, second in zip(one, drawn(run, batch_size=size), strict=True):
            assert abs(pixels(first) - pixels(second)).max() <= 1, first.key


def test_of_a_killed_shard_only_what_is_missing_is_made(make_subject_run, capsys):
    """SIGKILL after the second of nine batches; then another number of shards."""
    run = make_subject_run(unet_method())
    train(run)
    whole = drawn(run)
    job = run.generate()
    files.write_json(run.folder / "job.json", job)
    code = (
        "import os, sys; sys.path[:0] = ['workflow/scripts', '.']\n"
        "import generate_subject\nfrom common import diffusion, files\n"
        "plain, calls = diffusion.Sampler.draw, []\n"
        "def draw(*arguments):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 3: os.kill(os.getpid(), 9)\n"
        "    return plain(*arguments)\n"
        "diffusion.Sampler.draw = draw\n"
        "generate_subject.main(files.read_json(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run.folder / "job.json")], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    capsys.readouterr()
    assert drawn(run, of=2) == whole
    said = capsys.readouterr().out
    assert "8 images, 4 of them made now" in said and "10 images, 10 of them made now" in said


def test_what_other_weights_have_drawn_is_not_taken(make_subject_run):
    run = make_subject_run(unet_method())
    train(run)
    stale = Path(run.generate()["params"]["finished"], "0123456789abcdef")
    stale.mkdir(parents=True)
    drawn(run)
    assert not stale.exists()


def test_a_full_disk_keeps_what_is_finished(make_subject_run, monkeypatch, capsys):
    run = make_subject_run(unet_method())
    train(run)
    plain, calls = images.pack, []

    def pack(path, pictures):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(path, pictures)

    with monkeypatch.context() as patch:
        patch.setattr(shards.images, "pack", pack)
        with pytest.raises(OSError, match="No space left"):
            generate_subject.main(run.generate())
    generate_subject.main(run.generate())
    assert "18 images, 14 of them made now" in capsys.readouterr().out


def test_too_little_gpu_memory_halves_the_batch(make_subject_run, monkeypatch, capsys):
    run = make_subject_run(unet_method())
    train(run)
    whole, plain = drawn(run, steps=[5], batch_size=4), diffusion.Sampler.at_once

    def at_once(self, prompts, seeds):
        if len(prompts) > 1:
            raise torch.cuda.OutOfMemoryError
        return plain(self, prompts, seeds)

    monkeypatch.setattr(diffusion.Sampler, "at_once", at_once)
    for first, second in zip(whole, drawn(run, steps=[5], batch_size=4, inference_steps=2), strict=True):
        assert abs(pixels(first) - pixels(second)).max() <= 1
    assert "out of memory at 4 images at once; going on with half of them" in capsys.readouterr().out


def test_class_images_that_a_crash_left_short_are_not_trained_on(make_subject_run, monkeypatch):
    run = make_subject_run(unet_method())
    job = run.class_images()
    whole = list(images.unpack(job["output"]["shard"]))
    gather = run.job("gather_class_images", {"shards": [job["output"]["shard"]]}, {"images": run.folder / "class.tar"})
    gather["params"] |= {"steps": [0], "prompts": ["a photo of a ball"], "images": 4}
    images.pack(job["output"]["shard"], whole[:3])
    with pytest.raises(JobError, match="1 of 4 images are missing, first step00000-prompt00-3"):
        gather_images.main(gather)
    Path(job["output"]["shard"]).write_bytes(Path(job["output"]["shard"]).read_bytes()[:3000])
    with pytest.raises(JobError, match="cut off or damaged"):
        gather_images.main(gather)
    for shard in (0, 1):
        generate_class_images.main(run.class_images(shard, 2))
    gather["input"]["shards"] = [run.class_images(shard, 2)["output"]["shard"] for shard in (0, 1)]
    gather_images.main(gather)
    assert list(images.unpack(gather["output"]["images"])) == whole


def test_an_adapter_of_another_unet_is_refused(make_subject_run):
    run = make_subject_run(unet_method())
    train(run)
    state = load_file(run.weights["last"])
    first = next(iter(state))
    save_file(state | {first: torch.zeros(3, 4)}, run.weights["last"], metadata={"format": "pt"})
    for steps in ((5,), (2, 5)):  # the first to be loaded, and one to exchange it for
        with pytest.raises(JobError, match=r"adapter_model\.safetensors does not belong to this"):
            drawn(run, steps=steps)


def test_blocked_images_are_recorded_counted_and_not_judged(make_subject_run, monkeypatch, capsys):
    run = make_subject_run(unet_method())
    train(run)
    plain = diffusion.Sampler.at_once

    def at_once(self, prompts, seeds):
        found = plain(self, prompts, seeds)
        return [
            (image.point(lambda value: 0), True) if prompt == PROMPTS[0] else (image, flag)
            for prompt, (image, flag) in zip(prompts, found, strict=True)
        ]

    monkeypatch.setattr(diffusion.Sampler, "at_once", at_once)
    drawn(run)
    assert "18 images, 6 blocked (all black) step00002-prompt00-0" in capsys.readouterr().out
    metrics, rows = judged(run)
    assert metrics["selections"]["last"]["metrics"]["blocked"]["value"] == pytest.approx(1 / 3)
    assert metrics["n_items"] == len(rows) == 18
    assert all((row["faithfulness"] is None) == bool(row["blocked"]) for row in rows)


def judged(run, images: str | None = "gathered", **options) -> tuple[dict, list[dict]]:
    job = run.evaluate(run.gather()["output"]["images"] if images else None, **options)
    evaluate_subject.main(job)
    return files.read_json(job["output"]["metrics"]), outputs.read(job["output"]["predictions"])


class Stub:
    """Features that are the mean colour; LPIPS that is the squared distance of these."""

    calls = 0

    def images(self, pictures):
        Stub.calls += len(pictures)
        means = torch.tensor(numpy.array([numpy.asarray(one, float).mean((0, 1)) for one in pictures]))
        return torch.nn.functional.normalize(means.float(), dim=1)

    def texts(self, texts):
        return torch.nn.functional.normalize(torch.tensor([[len(text), 1.0, 2.0] for text in texts]), dim=1)

    embed = images

    @staticmethod
    def between(first, second):
        return torch.stack([(second - one).square().sum(1) for one in first])

    def distances(self, first, second):
        return self.between(self.embed(first), self.embed(second))


def test_scores_are_means_over_all_pairs_and_features_are_computed_once(make_subject_run, tiny_subject, monkeypatch):
    from common import manifests, picture_features

    run = make_subject_run(unet_method())
    train(run)
    made = drawn(run)
    monkeypatch.setattr(picture_features, "load", lambda *_: Stub())
    evaluation = {
        "evaluators": [
            {"name": name, "kind": kind, "model": "model"}
            for name, kind in (("dino", "dino"), ("clip", "clip"), ("lpips", "lpips-vgg"))
        ],
        "best_by": ["dino", "clip_i", "clip_t", "lpips_real"],
    }
    options = {"evaluation": evaluation, "models": (tiny_subject["model"],)}
    metrics, rows = judged(run, **options)
    calls = Stub.calls
    assert calls == 3 * (18 + 3)
    again, _ = judged(run, **options)
    assert Stub.calls == calls and again["selections"] == metrics["selections"]

    real = Stub().images([images.load(p) for p in images.listed(manifests.folder(tiny_subject["dataset"]))])
    shown = Stub().images([picture.image for picture in made[-6:]])
    last = {name: entry["value"] for name, entry in metrics["selections"]["last"]["metrics"].items()}
    assert last["dino"] == last["clip_i"] == pytest.approx((shown @ real.T).mean().item(), abs=1e-6)
    for metric, key in (("clip_t", "prompts"), ("clip_t_class", "prompts_class")):
        asked = Stub().texts(tiny.EVALUATION[key]).repeat_interleave(2, 0)
        assert last[metric] == pytest.approx((shown * asked).sum(1).mean().item(), abs=1e-6)
    assert last["lpips_real"] == pytest.approx(Stub.between(shown, real).mean().item(), abs=1e-6)
    pairs = [Stub.between(shown[i : i + 1], shown[i + 1 : i + 2]).item() for i in (0, 2, 4)]
    assert last["lpips_diversity"] == pytest.approx(numpy.mean(pairs), abs=1e-6)
    assert metrics["selections"]["best_on_test"]["step"] is None
    assert rows[0].keys() >= {"key", "prompt", "seed", "dino", "clip_t", "lpips_real", "blocked"}

    reference = make_subject_run(unet_method("reference"), "reference")
    record = train(reference)
    assert record["steps"] == 0 and record["adapter_parameters"] == 0 and record["total_parameters"] > 1000
    metrics, rows = judged(reference, None, **options)
    others = ((real @ real.T).sum() - 3) / 6
    found = metrics["selections"]["last"]["metrics"]
    assert found["dino"]["value"] == pytest.approx(others.item(), abs=1e-6) and "clip_t" not in found
    assert found["lpips_real"] == found["lpips_diversity"] and len(rows) == 3


def test_best_on_test_is_the_official_rule_without_its_undefined_values():
    steps, generator = [10, 20, 30], numpy.random.default_rng(0)
    scores = {name: {step: generator.random(4) for step in steps} for name in ("a", "b")}
    found = judging.best_on_test(scores, ["a", "b"])
    for prompt in range(4):
        values = {name: numpy.array([scores[name][step][prompt] for step in steps]) for name in scores}
        total = sum(value / (value.max() - value.min()) for value in values.values())
        assert all(found[name][prompt] == values[name][total.argmax()] for name in scores)
    for step in steps:
        scores["a"][step][0] = 0.5  # no range: b decides
        scores["a"][step][1] = numpy.nan  # blocked at every step
    scores["b"][30][2] = scores["a"][30][2] = numpy.nan  # blocked at one step
    scores["b"][10][2], scores["b"][20][2] = 0.1, 0.2
    scores["a"][10][2], scores["a"][20][2] = 0.1, 0.2
    found = judging.best_on_test(scores, ["a", "b"])
    assert found["b"][0] == max(scores["b"][step][0] for step in steps) and found["a"][2] == 0.2
    summary = judging.summary(found)
    known = found["a"][[0, 2, 3]]
    assert summary["a"]["value"] == pytest.approx(known.mean())
    assert judging.summary({"a": numpy.array([numpy.nan])}) == {}


def test_the_model_as_it_came_is_sampled_too(make_subject_run):
    run = make_subject_run(unet_method("pretrained"))
    started = time.time()
    assert train(run)["steps"] == 0 and time.time() - started < 60
    assert len(drawn(run, steps=[0])) == 6


def test_augmenting_twice_gives_one_start(make_subject_run):
    run = make_subject_run(unet_method())
    start = run.folder / "augmented/adapter_model.safetensors"
    before = start.read_bytes()
    augment.main(run.augment)
    assert start.read_bytes() == before


@pytest.mark.slow
def test_two_processes_train_as_one(make_subject_run):
    one, two = make_subject_run(unet_method()), make_subject_run(unet_method(), "two")
    train(one)
    job = two.train
    job["resources"]["gpu"] = 2  # with device cpu: two processes
    files.write_json(two.folder / "job.json", job)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*command, "workflow/scripts/train_subject.py", str(two.folder / "job.json")], cwd=ROOT, check=True)
    assert files.read_json(job["output"]["record"])["processes"] == 2
    for name, weight in load_file(one.weights["last"]).items():
        assert torch.allclose(weight, load_file(two.weights["last"])[name], atol=2e-4), name
