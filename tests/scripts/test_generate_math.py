"""Generation: the same answers from any shards, and in any form."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import gather_outputs
import generate_math
from hra_workflow.core import files, manifests, records
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, causal_lm, decoding
from rule_jobs import train
from sums import answers, math_method, said


def test_any_number_of_shards_gives_the_same_bytes(trained):
    def merged(of: int) -> list[bytes]:
        """Pools of eight items: three of `test`, eight of `train`."""
        answers(trained, of, batch_size=1)
        gather_outputs.main(trained.gather(of, "train"))
        return [Path(trained.gather(of, name)["output"]["outputs"]).read_bytes() for name in ("test", "train")]

    one = merged(1)
    assert one[0] != one[1]
    assert merged(9) == one  # of eight pools


def test_adapter_and_merged_say_the_same_tokens(trained):
    found = {serve: said(answers(trained, serve=serve)) for serve in ("adapter", "merged")}
    assert found["adapter"] == found["merged"]
    assert len(set(found["adapter"])) > 1


def test_a_missing_a_double_and_a_damaged_shard_are_refused(trained):
    answers(trained, 2, batch_size=1)
    job = trained.gather(2)
    first, second = job["input"]["shards"]
    for shards, message in (([first], "Missing: "), ([first, second, second], "duplicate or unexpected: ")):
        with pytest.raises(JobError, match=message):
            gather_outputs.main(job | {"input": job["input"] | {"shards": shards}})
    Path(second).write_bytes(Path(second).read_bytes()[:-20])
    with pytest.raises(JobError, match="truncated or corrupted"):
        gather_outputs.main(job)


def test_out_of_memory_halves_the_batch_and_goes_on(trained, monkeypatch, capsys):
    """The smaller batch holds for the other pools and benchmarks."""
    expected = answers(trained)
    step, steps = decoding.Batch.step, []

    def scarce(self):
        steps.append(len(self.last))
        if len(steps) >= 3 and len(self.last) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return step(self)

    monkeypatch.setattr(decoding.Batch, "step", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert answers(trained) == expected
    assert steps[:3] == [4, 4, 4] and max(steps[3:]) == 2
    assert capsys.readouterr().out.count("continuing with half of it") == 1


def test_a_stop_string_ends_an_answer_and_is_not_part_of_it(trained):
    free = [line["output"] for line in answers(trained)]
    stop = max(free, key=len)[1]
    given = answers(trained, stop=[stop])
    assert [line["output"] for line in given] == [text.split(stop)[0] for text in free]
    assert {line["finish"] for line, text in zip(given, free, strict=True) if stop in text} == {"stop"}


@pytest.mark.parametrize("slots", [True, False])
def test_an_answer_ends_at_any_end_token_also_in_a_model_that_leaves_no_batch(trained, monkeypatch, slots):
    folder = manifests.folder(trained.tiny["model"])
    free, tokenizer = [line["output"] for line in answers(trained)], causal_lm.load_tokenizer(folder)
    letter = max(sorted(set("".join(free))), key=lambda letter: sum(text.find(letter) > 0 for text in free))
    ends = [token for token in range(len(tokenizer)) if letter in tokenizer.decode([token])]
    monkeypatch.setattr(causal_lm, "end_tokens", lambda *_: [tokenizer.eos_token_id, *ends])
    monkeypatch.setattr(decoding, "is_supported", lambda model: slots)
    given = answers(trained)
    assert [line["output"] for line in given] == [text.split(letter)[0] for text in free]
    assert {line["finish"] for line in given if letter in free[line["item"]]} == {"stop"}


def test_an_adapter_of_another_model_is_refused(trained, make_math_run, tmp_path):
    other = make_math_run(math_method("hra", {"r": 6}), "other")
    train(other)
    job = trained.generate()
    record = files.read_json(job["input"]["record"])
    made = record["made_from"] | {"inputs": {job["input"]["model"]: "0" * 64}}
    records.write(tmp_path / "train.json", record | {"made_from": made})
    with pytest.raises(JobError, match=r"train\.json: .* inputs\.\S+ 000000000000…, now"):
        generate_math.main(job | {"input": job["input"] | {"record": str(tmp_path / "train.json")}})

    config, weights = (
        Path(other.weights["last"]).with_name(name) for name in ("adapter_config.json", adapters.WEIGHTS)
    )
    job = job | {"input": job["input"] | {"last": str(weights), "record": str(tmp_path / "train.json")}}

    def recorded() -> None:
        """Write a record with these weights' digest, so that PEFT's own check is the only one left."""
        digest = {os.path.relpath(weights, tmp_path): files.sha256(weights)}
        records.write(tmp_path / "train.json", record | {"weights_sha256": digest})

    recorded()
    right, state = config.read_text(), load_file(weights)
    config.write_text(right.replace('    "q_proj",\n', ""))
    with pytest.raises(JobError, match=r"does not belong to this model: .*q_proj.* is in one of them only"):
        generate_math.main(job)
    config.write_text(right)
    state.pop(next(name for name in state if "down_proj" in name))
    save_file(state, weights)
    recorded()
    with pytest.raises(JobError, match=r"does not belong to this model: .*down_proj"):
        generate_math.main(job)
