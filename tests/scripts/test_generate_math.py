"""Generation: the same answers from any shards, and in any form."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import gather_outputs
import generate_math
from hra_workflow.core import files, manifests, records
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, causal_lm, decoding
from sums import answers, said


@pytest.fixture(scope="module")
def trained(trained_once, tmp_path_factory):
    """Provide one copy of the trained run for all tests: each writes answers of its own before it reads them."""
    return trained_once.copy(tmp_path_factory.mktemp("generate") / "run")


@pytest.fixture(scope="module")
def plain(trained) -> list[dict]:
    return answers(trained)


def test_any_number_of_shards_gives_the_same_bytes_and_none_may_be_missing(trained):
    def merged(of: int) -> list[bytes]:
        """Pools of eight items: three of `test`, eight of `train`."""
        answers(trained, of, batch_size=1)
        gather_outputs.main(trained.gather(of, "train"))
        return [Path(trained.gather(of, name)["output"]["outputs"]).read_bytes() for name in ("test", "train")]

    one = merged(1)
    assert one[0] != one[1]
    assert merged(9) == one  # of eight pools
    job = trained.gather(9)
    first, *others = job["input"]["shards"]
    Path(f"{first}.cut").write_bytes(Path(first).read_bytes()[:-20])
    for shards, message in (
        (others, "Missing: "),
        ([first, first, *others], "duplicate or unexpected: "),
        ([f"{first}.cut", *others], "truncated or corrupted"),
    ):
        with pytest.raises(JobError, match=message):
            gather_outputs.main(job | {"input": job["input"] | {"shards": shards}})


def test_adapter_and_merged_say_the_same_tokens(trained, plain):
    found = said(answers(trained, serve="merged"))
    assert found == said(plain) and len(set(found)) > 1


def test_out_of_memory_halves_the_batch_and_goes_on(trained, plain, monkeypatch, capsys):
    """The smaller batch holds for the other pools and benchmarks."""
    step, steps = decoding.Batch.step, []

    def scarce(self):
        steps.append(len(self.last))
        if len(steps) >= 3 and len(self.last) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return step(self)

    monkeypatch.setattr(decoding.Batch, "step", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert answers(trained) == plain
    assert steps[:3] == [4, 4, 4] and max(steps[3:]) == 2
    assert capsys.readouterr().out.count("continuing with half of it") == 1


@pytest.mark.parametrize("end", ["stop string", "end token", "end token of a model that leaves no batch"])
def test_an_answer_ends_at_a_stop_string_or_any_end_token_and_does_not_contain_it(trained, plain, monkeypatch, end):
    free, tokenizer = (
        [line["output"] for line in plain],
        causal_lm.load_tokenizer(manifests.folder(trained.tiny["model"])),
    )
    letter = max(sorted(set("".join(free))), key=lambda letter: sum(text.find(letter) > 0 for text in free))
    ends = [token for token in range(len(tokenizer)) if letter in tokenizer.decode([token])]
    if end != "stop string":
        monkeypatch.setattr(causal_lm, "end_tokens", lambda *_: [tokenizer.eos_token_id, *ends])
        monkeypatch.setattr(decoding, "is_supported", lambda model: end == "end token")
    given = answers(trained, stop=[letter] if end == "stop string" else [])
    assert [line["output"] for line in given] == [text.split(letter)[0] for text in free]
    assert {line["finish"] for line in given if letter in free[line["item"]]} == {"stop"}


def test_an_adapter_of_another_model_is_refused(trained, tmp_path):
    job = trained.generate()
    record = files.read_json(job["input"]["record"])
    made = record["made_from"] | {"inputs": {job["input"]["model"]: "0" * 64}}
    records.write(tmp_path / "train.json", record | {"made_from": made})
    with pytest.raises(JobError, match=r"train\.json: .* inputs\.\S+ 000000000000…, now"):
        generate_math.main(job | {"input": job["input"] | {"record": str(tmp_path / "train.json")}})

    shutil.copytree(trained.last.parent, tmp_path / "last")
    config, weights = (tmp_path / "last" / name for name in ("adapter_config.json", adapters.WEIGHTS))
    job = job | {"input": job["input"] | {"last": str(weights), "record": str(tmp_path / "train.json")}}

    def refused(message: str) -> None:
        """Record the digest of these weights, so that PEFT's own check is the only one left."""
        records.write(
            tmp_path / "train.json", record | {"weights_sha256": {"last/" + weights.name: files.sha256(weights)}}
        )
        with pytest.raises(JobError, match=f"does not belong to this model: {message}"):
            generate_math.main(job)

    state = load_file(weights)
    save_file({name: state[name] for name in state if "down_proj" not in name}, weights)
    refused(".*down_proj")
    save_file(state, weights)
    config.write_text(config.read_text().replace('    "q_proj",\n', ""))
    refused(".*q_proj.* is in one of them only")
