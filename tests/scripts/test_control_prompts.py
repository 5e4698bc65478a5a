"""Prompt files of control datasets: the accepted formats, and all problems of a file in one error, by line."""

import json

import numpy
import pytest
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import zip_archives
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control import prompts, row_files


def file(text: str) -> zip_archives.NamedBytes:
    return zip_archives.NamedBytes(text.encode(), "prompts")


def test_prompts_as_oft_and_as_coco_write_them():
    expected = [("0", "a house"), ("1", "a tree")]
    lines = ['{"source": "source/0.png", "target": "target/0.png", "prompt": "a house"}', ""]
    assert prompts.read(file("\n".join([*lines, '{"source": "source/1.png", "prompt": "a tree"}']))) == expected
    listed = [{"image": f"{key}.jpg", "prompt": prompt} for key, prompt in expected]
    assert prompts.read(file(json.dumps(listed))) == expected
    captions = [(7, "a house "), (9, "a tree"), (7, "another")]
    notes = [{"image_id": image, "caption": caption} for image, caption in captions]
    images = [{"id": 9, "file_name": "1.jpg"}, {"id": 7, "file_name": "0.jpg"}]
    assert prompts.read(file(json.dumps({"images": images, "annotations": notes}))) == expected


def test_all_problems_of_a_prompt_file_are_one_error_by_line():
    lines = [json.dumps({"image": f"{key}.png", "prompt": "a room"}) for key in range(5)]
    lines += ['{"image": "5.png"}', '{"prompt": "a room"}', "", '{"image": "7.png", "prompt": " "}']
    with pytest.raises(JobError) as problem:
        prompts.read(file("\n".join([*lines, '{"source": "8.png", "prompt": 3}'])))
    assert str(problem.value).splitlines()[1:-1] == [
        "  prompts, line 6, column prompt: expected text, found none;",
        "  prompts, line 7, column image: expected the name of a file, found none;",
        "  prompts, line 9, column prompt: expected text, found none;",
        "  prompts, line 10, column prompt: expected text, found 3.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>", r"prompts: expected JSON Lines .* Correct the file or `prompts`"),
        ('{"image": "0.png", "prompt": "a"}\n\nnot JSON\n', "prompts, line 3: expected JSON, found 'not JSON'"),
        ('[["0", "a house"]]', "prompts, row 1: expected an object, found .*a house"),
        ("0 beach\n1 living room\n2 house\n", "prompts, line 2: expected KEY CATEGORY, found '1 living room'"),
        ('{"images": [{"id": 7, "file_name": "0.jpg"}], "annotations": []}', "prompts, image 7, column prompt: expect"),
        ('{"image": "a.jpg", "prompt": "one", "prompt": "two"}', "each column once, found 'prompt' more than once"),
    ],
)
def test_a_problem_of_a_prompt_file_has_its_line(text, message):
    with pytest.raises(JobError, match=message):
        prompts.read(file(text))
    with pytest.raises(JobError, match="prompts, line 2: expected text in UTF-8, found the byte 0xe9"):
        prompts.read(zip_archives.NamedBytes("0 beach\n1 café\n".encode("latin-1"), "prompts"))


def test_a_few_empty_prompts_of_many_are_kept():
    lines = [json.dumps({"image": f"{key}.png", "prompt": "" if key == 1 else "a"}) for key in range(1000)]
    assert prompts.read(file("\n".join(lines)))[1] == ("1", "")
    with pytest.raises(JobError, match="line 2, column prompt: expected text, found none"):
        prompts.read(file("\n".join(lines[:999])))


def test_prompts_that_are_wrong_in_both_splits_or_empty(tmp_path):
    places = {}
    for number, split in enumerate(("train", "validation")):
        Image.fromarray(numpy.full((32, 32, 3), number, numpy.uint8)).save(tmp_path / f"{number}.png")
        lines = [json.dumps({"image": f"{number}.png", "prompt": prompt}) for prompt in ("a room", "")]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
        places[split] = {"prompts": f"{split}.jsonl", "image": "{key}.png"}
    entry = {"hint": "canny", "resolution": 32, "splits": places}
    with pytest.raises(JobError) as problem:
        row_files.check(tmp_path, entry)
    for split, line in zip(("train", "validation"), str(problem.value).splitlines(), strict=True):
        assert f"{split}.jsonl, line 2, column prompt: expected text, found none" in line
    own = {"prompts": [{"image": "2.jpg", "prompt": "a\0"}], "image": "{key}.png"}
    with pytest.raises(JobError, match=r"the config, entry 1, column prompt: expected text, found the character NUL"):
        control_data.Maker(None, {"splits": {"train": own}}, "train")
