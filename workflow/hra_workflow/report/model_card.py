"""The model card of an exported adapter, README.md on the Hugging Face Hub."""

import re
from pathlib import Path
from typing import NamedTuple

from hra_workflow.report import selections

PAGE = Path(__file__).with_name("page")
LICENSES = {"mit", "apache-2.0", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "creativeml-openrail-m"}


class Repository(NamedTuple):
    repo: str
    revision: str | None


def on_hub(manifest: dict) -> Repository | None:
    """Return the repository of a manifest's files; None if they are not from the Hub."""
    source = manifest["source"]
    return Repository(source["repo"], manifest.get("revision")) if "repo" in source else None


def templates():
    """Return jinja's environment of the templates of cards."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    own = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return Environment(loader=FileSystemLoader(PAGE), **own)


def write(record: dict, metrics: list[dict], model: dict, data: dict, weights: str, adapter: dict, params: dict) -> str:
    """Return the card, checked by huggingface_hub as far as possible without network access.

    record: train.json. metrics: metrics.json per benchmark. model, data: manifests. weights: `last`, `best` or a step.
    adapter: adapter_config.json. params: `label` of the method; `pipeline_tag`; `snippet`, the template of the code,
    with `settings` of predictions, torch's `dtype`, `has_lora` and the `component` of a pipeline; the folders `base`
    and `exported`; `trained_on`, the benchmarks that are the training split; `reported`, benchmark -> the manifest of
    its data; `splits` (selections.splits).
    Raises ValueError for results that the Hub would not accept.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    base, source, rows = on_hub(model), on_hub(data), list(results(metrics, weights))
    reported = {name: on_hub(one) or Repository(one["name"], None) for name, one in params["reported"].items()}
    evaluated = [
        EvalResult(
            task_type=params["pipeline_tag"],
            dataset_type=reported[row["benchmark"]].repo,
            dataset_name=f"{record['dataset']}, {row['benchmark']}",
            dataset_split=row["benchmark"],  # all results of one split have one name
            dataset_revision=reported[row["benchmark"]].revision,
            metric_type=row["metric"],
            metric_name=row["metric"],
            metric_value=row["value"],
        )
        for row in rows
    ]
    content = ModelCardData(
        base_model=base.repo if base else None,
        datasets=[source.repo] if source else None,
        library_name="peft",
        pipeline_tag=params["pipeline_tag"],
        tags=[adapter["peft_type"].lower(), record["dataset"]],
        model_name=f"{record['method']}-{record['variant']}-{record['dataset']}",
        eval_results=evaluated or None,
        **license_of(model.get("license")),
    )
    steps = int(weights) if weights.isdigit() else record["steps" if weights == "last" else "best_step"]
    made = record["made_from"]["settings"]
    environment = templates()
    titles, notes = (selections.name_splits(params["splits"], texts) for texts in (selections.TITLES, selections.NOTES))
    folders = {"base": base.repo if base else params["base"], "adapter": params["exported"]}
    remarks = {"base": "" if base else "  # a folder", "adapter": "  # this folder, or its name on the Hub"}
    snippet = environment.from_string(params["snippet"]).render(
        folders="\n".join(f"{name} = {folder!r}{remarks[name]}" for name, folder in folders.items()),
        revision=f", revision={base.revision!r}" if base else "",
        made=made,
        **params,
    )
    text = environment.get_template("model_card.md").render(
        metadata=content.to_yaml(),
        label=params["label"],
        tuned=params["tuned"],
        labels=made.get("dataset", {}).get("labels"),
        prompts=record.get("prompts"),
        snippet=snippet.strip(),
        record=record,
        rows=rows,
        trained_on=params["trained_on"] if rows else [],
        notes=[f"{titles[name]}: {notes[name]}" for name in dict.fromkeys(row["selection"] for row in rows)],
        base=base,
        source=source,
        model_license=model.get("license") or "not stated",
        data_license=data.get("license") or "not stated",
        weights=weights,
        steps=steps,
        adapter=adapter,
        settings={name: value for name, value in sorted(record["hyperparameters"].items()) if value is not None},
    )
    text = re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"
    ModelCardData(**ModelCard(text).data.to_dict())  # raises ValueError for invalid results
    return text


def results(metrics: list[dict], weights: str):
    """Yield a row per benchmark and metric of the exported weights. `best`: the checkpoint that the run has selected.

    A standard error of 0, as of an accuracy of 100 %, is no estimate and becomes None.
    """
    for one in metrics:
        for selection, found in one["selections"].items():
            if found["step"] is not None and (selection == "last") == (weights == "last"):
                for name, value in found["metrics"].items():
                    shown = {"benchmark": one["benchmark"], "n": one["n_items"], "selection": selection}
                    yield shown | {"metric": name, "value": value["value"], "stderr": value.get("stderr") or None}


def license_of(text: str | None) -> dict[str, str]:
    """Return the Hub's keys for a licence: an adapter has the licence of its base model."""
    name, _, link = (text or "").partition(", ")
    if not name:
        return {}
    if (identifier := name.lower().replace(" ", "-")) in LICENSES:
        return {"license": identifier}
    named = {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")}
    return named | ({"license_link": link} if link.startswith("http") else {})
