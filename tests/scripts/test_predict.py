"""Predictions of a finished run for new inputs are those of its evaluation, and what does not fit is an error."""

from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

import evaluate_glue
import predict_control
import subjects
import sums
from controlled import SAMPLING, SIDE
from controlled import unet_method as control_method
from hra_workflow.core import files, predictions
from hra_workflow.core.errors import JobError
from hra_workflow.data import new_inputs
from hra_workflow.tasks.control import data as control_data
from predicted import READING, answering, predict
from rule_jobs import train
from support import method

pytestmark = pytest.mark.slow  # models of every task predict


def pixels(run, rows: list[dict]) -> list[numpy.ndarray]:
    return [numpy.asarray(Image.open(run.folder / "predicted" / row["image"]), int) for row in rows]


def test_texts_get_the_classes_and_probabilities_of_the_evaluation(make_run, tmp_path):
    classifier = make_run(method("hra"))
    train(classifier)
    evaluate_glue.main(classifier.evaluate)
    validation = Path(classifier.tiny["dataset"]).parent / "raw/validation.csv"
    rows = predict(classifier, {"texts": validation}, {"reading": READING}, "best")
    evaluated = predictions.read(classifier.evaluate["output"]["predictions"])
    expected = torch.tensor([line["best_on_dev"] for line in evaluated], dtype=torch.float64).softmax(1)
    found = torch.tensor([[float(row[f"p_{label}"]) for label in classifier.dataset["labels"]] for row in rows])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0, check_dtype=False)
    assert [row["prediction"] for row in rows] == [classifier.dataset["labels"][one] for one in expected.argmax(1)]
    assert rows[0]["label"] in "01"  # the user's columns are kept
    # The evaluation's file has the same columns, and what comparisons read.
    for row, line in zip(rows, evaluated, strict=True):
        shared = {name: line[name] for name in ("sentence", "prediction", "label")}
        assert {name: str(value) for name, value in shared.items()} == {name: row[name] for name in shared}
        assert line["label_name"] == classifier.dataset["labels"][line["label"]]
        assert line["p_positive"] == pytest.approx(float(row["p_positive"]), abs=1e-5)

    # A text file has an input per line; other files are read like those of the training data.
    (tmp_path / "lines.txt").write_text("rise rise fall\n\nfall\n")
    (tmp_path / "other.csv").write_text("sentence;n\nrise rise fall;1\nfall;2\n")
    like = {"read": {"sep": ";"}, "endings": [".csv"]}
    names = ("lines.txt", "other.csv")
    lines, other = (predict(classifier, {"texts": tmp_path / name}, {"reading": like}) for name in names)
    assert [row | {"n": str(number)} for number, row in enumerate(lines, 1)] == other

    def refused(text: str, message: str, **changes) -> None:
        (tmp_path / "new.csv").write_text(text)
        with pytest.raises(JobError, match=message):
            predict(classifier, {"texts": tmp_path / "new.csv"}, {"reading": READING}, **changes)

    refused("id,text\n1,rise\n", r"expected the column 'sentence', found 'id', 'text'\. Rename")
    refused("sentence,n\nrise,1\n ,2\n", "line 3, column sentence: expected text, found none")
    refused("sentence\n", "no rows")
    refused("sentence,prediction\nrise,x\n", "without a column prediction")
    other = tmp_path / "other.manifest.json"
    files.write_json(other, files.read_json(classifier.tiny["model"]) | {"sha256": "0" * 64})
    refused("sentence\nrise\n", "on which the weights were trained", model=str(other))
    last = Path(classifier.weights["last"])
    last.write_bytes(last.read_bytes() + b" ")
    refused("sentence\nrise\n", "not written by this training run")


def test_questions_get_the_answers_of_the_evaluation(make_math_run, tmp_path):
    run = make_math_run(sums.math_method("hra"))
    train(run)
    expected = sums.answers(run)
    questions = Path(run.tiny["dataset"]).parent / "raw/test.jsonl"
    settings = answering(run)
    changed = {"prompt": {"template": "Q: {question}\n"}}  # in the config, since the training
    rows = predict(run, {"prompts": questions}, settings | changed)
    assert [row["output"] for row in rows] == [line["output"] for line in expected]


def test_prompts_of_a_subject_get_the_images_of_the_evaluation_and_others_with_a_seed(make_subject_run, tmp_path):
    run = make_subject_run(subjects.unet_method())
    record = train(run)
    assert record["prompts"]["subject"] == "qwe ball" and "qwe ball" in record["prompts"]["instance"]
    expected = subjects.drawn(run, steps=(5,))
    (tmp_path / "new.txt").write_text("\n".join(text.replace("qwe ball", "{subject}") for text in subjects.PROMPTS))
    given, settings = {"prompts": tmp_path / "new.txt"}, {"sampling": subjects.SAMPLING}
    rows = predict(run, given, settings)
    assert [row["prompt"] for row in rows] == [one.about["prompt"] for one in expected]
    assert all((found == subjects.pixels(one)).all() for found, one in zip(pixels(run, rows), expected, strict=True))
    seeds = [row["seed"] for row in rows]
    assert seeds == [row["seed"] for row in predict(run, given, settings, seed=0)]
    assert not {*seeds} & {row["seed"] for row in predict(run, given, settings, seed=1)}
    for text, message in (
        ("a {subject}\na {thing}\n", r"expected {subject} .* found {thing} in 'a {thing}'\. Correct the prompt"),
        ("fine\n" * 9 + "a {subject} " * 99, r"'a qwe ball .{189}': expected at most 77 tokens, .*Shorten the prompt"),
    ):
        (tmp_path / "wrong.txt").write_text(text)
        with pytest.raises(JobError, match=message):
            predict(run, {"prompts": tmp_path / "wrong.txt"}, settings)
        assert len(list((run.folder / "predicted").glob("*.png"))) == len(rows)


def hint_settings(manifest: str) -> dict:
    sampling = SAMPLING | {"prompt_suffix": ", ", "inference_steps": 2, "resolution": SIDE}
    return {"sampling": sampling, "hints": manifest}


def test_every_image_of_a_folder_is_read_or_named_in_an_error(tmp_path):
    def refused(message: str) -> None:
        with pytest.raises(JobError, match=message):
            new_inputs.images_in(str(tmp_path / "new"), 8)

    (tmp_path / "new/deep").mkdir(parents=True)
    refused("expected images that end in .*, found none")
    (tmp_path / "new/a.txt").touch()
    refused(r"found a\.txt\. Convert them, or correct the path")
    (tmp_path / "new/._x.png").touch()  # of macOS
    for name in ("x.png", "x.jpg", "deep/x.png"):
        Image.new("RGB", (8, 9)).save(tmp_path / "new" / name)
    assert list(new_inputs.images_in(str(tmp_path / "new"), 8)) == ["deep/x.png", "x.jpg", "x.png"]
    for name, target in (("more", tmp_path), ("y.png", "nothing.png")):
        (tmp_path / "new" / name).symlink_to(target)
        refused(f"links to a folder or to nothing, which are not read: {name}")
        (tmp_path / "new" / name).unlink()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,one\na.png,two\nb.png,three\n", r"expected a prompt for every image of .*, found several for a\.png"),
        ("a.png,one\nb.png,two\nc.png,three\n", r"found one for the missing c\.png\. Correct the column `image`"),
        ("a.png,one\n", r"found none for b\.png"),
    ],
)
def test_prompts_that_do_not_fit_the_images_of_a_folder(tmp_path, rows, message):
    (tmp_path / "prompts.csv").write_text(f"image,prompt\n{rows}")
    with pytest.raises(JobError, match=message):
        predict_control.prompts_of(str(tmp_path / "prompts.csv"), str(tmp_path), ["a.png", "b.png"])
    if "c.png" in rows:  # of one image, those of its folder are fine
        told = predict_control.prompts_of(str(tmp_path / "prompts.csv"), str(tmp_path / "b.png"), ["b.png"])
        assert told == ["two"]


def test_images_and_control_images_get_the_images_of_the_evaluation(tmp_path, make_control_run, tiny_control):
    run = make_control_run(control_method("hra"))
    train(run)
    expected = run.gather([run.generate()])
    split = control_data.open_split(tiny_control["canny"], "validation")
    (tmp_path / "images").mkdir()
    (tmp_path / "controls").mkdir()
    lines = ["image,prompt"]
    for row, (image, prompt, control) in enumerate(split[row] for row in range(len(split))):
        image.save(tmp_path / f"images/{row}.png")
        control.save(tmp_path / f"controls/{row}.png")
        lines.append(f'{row}.png,"{prompt}"')
    (tmp_path / "prompts.csv").write_text("\n".join(lines) + "\n")
    settings = hint_settings(tiny_control["canny"])
    for name in ("images", "controls"):
        given = {name: tmp_path / name, "prompts": tmp_path / "prompts.csv"}
        rows = predict(run, given, settings)
        assert [row["given"] for row in rows] == [f"{row}.png" for row in range(len(split))]
        shown = [numpy.asarray(one.image, int) for one in expected]
        assert all((found == one).all() for found, one in zip(pixels(run, rows), shown, strict=True))
        used = [numpy.asarray(Image.open(run.folder / "predicted" / row["control"])) for row in rows]
        assert all((one == numpy.asarray(split[row][2])).all() for row, one in enumerate(used))
    (tmp_path / "one.txt").write_text("a scene\n")
    single = {"images": tmp_path / "images/1.png", "prompts": tmp_path / "one.txt"}
    assert [(row["given"], row["prompt"]) for row in predict(run, single, settings)] == [("1.png", "a scene, ")]
    (tmp_path / "two.txt").write_text("a scene\nanother scene\n")
    Image.new("RGB", (99, 7)).save(tmp_path / "line.png")
    annotated = tmp_path / "annotated.manifest.json"
    files.write_json(annotated, files.read_json(tiny_control["canny"]) | {"hint": None})
    for changes, message in (
        ({"settings": hint_settings(str(annotated))}, "--controls FOLDER"),
        ({"settings": hint_settings(tiny_control["segmentation"])}, "that the weights were trained on"),
        ({"given": {"images": tmp_path / "images", "prompts": tmp_path / "two.txt"}}, "found 2 prompts without it"),
        ({"given": single | {"images": tmp_path / "line.png"}}, "at least 8 × 8 pixels, found 99 × 7"),
    ):
        with pytest.raises(JobError, match=message):
            predict(run, **({"given": single, "settings": settings} | changes))
