"""`.eval_results/*.yaml` of an export: complete evaluations on benchmarks of the Hugging Face Hub."""

from pathlib import Path

import pytest
import yaml

from hra_results import eval_results, publish
from hra_workflow.core import files, records
from hra_workflow.core.errors import JobError

CARD = "> [!WARNING]\n> The rows of math are the training data, so the scores do not show how"
RESULT = {
    "dataset": {"id": "openai/gsm8k", "task_id": "gsm8k", "revision": "c" * 40},
    "value": 48.97,
    "notes": "hra/r32, seed 0: strict",
}


def export(folder: Path, repo: str = "openai/gsm8k", items: int = 1319, card: str = CARD, seal: str = "") -> Path:
    """Write the export of a run, with its evaluation and the manifest of its benchmark; return the export's folder."""
    run, manifest = folder / "run", folder / "gsm8k.manifest.json"
    made = run / "hub/last"
    records.write(made / records.OF_RUN, {"method": "hra", "variant": "r32", "seed": 0})
    files.write_text(made / "README.md", card)
    files.write_json(manifest, {"source": {"kind": "hub", "repo": repo}, "revision": "c" * 40})
    seal = seal or records.read(made / records.OF_RUN)[records.SEAL]
    found = {"strict": {"value": 0.48972, "stderr": 0.01}, "official": {"value": 0.5, "stderr": 0.01}}
    selections = {"last": {"step": 9, "metrics": found}}
    metrics = {"benchmark": "gsm8k", "n_items": items, "score": "strict", "selections": selections}
    metrics |= {"made_from": {"inputs": {str(manifest): "d" * 64, "run/train.json": seal}}}
    records.write(run / "gsm8k/metrics.json", metrics)
    return made


def results(made: Path) -> dict:
    eval_results.write(made, made.parents[1])
    return {path.name: yaml.safe_load(path.read_text()) for path in made.glob(".eval_results/*")}


def test_the_main_metric_of_the_exported_weights_is_written_in_percent_and_its_source_is_the_record(tmp_path):
    made = export(tmp_path)
    assert results(made) == {"gsm8k.yaml": [RESULT]}
    eval_results.name_source(made, "me/hra")
    source = {"url": "https://huggingface.co/me/hra/blob/main/train.json", "name": "Run record"}
    assert yaml.safe_load((made / ".eval_results/gsm8k.yaml").read_text()) == [RESULT | {"source": source}]


NOT_COMPARABLE = {
    "no benchmark of the Hub": {"repo": "someone/questions"},
    "not all rows": {"items": 100},
    "rows are trained on": {"card": CARD.replace("rows of math", "rows of gsm8k")},
    "another training": {"seal": "e" * 64},
}


def test_no_file_is_written_for_what_is_not_comparable_or_was_not_evaluated(tmp_path):
    for name, changed in NOT_COMPARABLE.items():
        assert results(export(tmp_path / name, **changed)) == {}, name
    made = export(tmp_path)
    assert results(made.rename(made.with_name("best"))) == {}


def test_an_edited_file_that_the_hub_would_refuse_is_an_error(tmp_path, monkeypatch):
    made = export(tmp_path)
    monkeypatch.setattr(publish, "warn_of_card", lambda folder: None)
    monkeypatch.setattr(publish, "check_adapter", lambda folder: None)
    files.write_text(made / ".eval_results/gsm8k.yaml", "- dataset: {id: openai/gsm8k}\n  value: 1\n")
    with pytest.raises(JobError, match="found an invalid one: 'task_id'"):
        publish.check(made)
