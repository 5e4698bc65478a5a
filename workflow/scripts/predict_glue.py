"""Predict the class, or the value, of new texts with a finished run, and write a CSV file.

It has the user's columns, `prediction`, and for classes the probability of each, `p_{class}`.
"""

from pathlib import Path

import evaluate_glue
from hra_workflow.core import finished_run, manifests, provenance
from hra_workflow.core.job import script
from hra_workflow.data import new_inputs
from hra_workflow.models import adapters, classifier


@script
def main(job: dict) -> None:
    import pyarrow

    params = job["params"]
    record = finished_run.read_requested(params["record"], params["weights"], params["model"], job["wildcards"])
    method, dataset, settings = (
        record["made_from"]["settings"][name] for name in ("method", "dataset", "hyperparameters")
    )
    columns, labels = dataset["columns"], dataset["labels"]
    texts = new_inputs.table(params["given"]["texts"], columns, **params["settings"]["reading"])
    device = provenance.pick_device(job)
    folder = manifests.folder(params["model"])
    tokenizer = classifier.load_tokenizer(folder)
    inputs = pyarrow.table({name: texts[name] for name in columns})
    data = classifier.encoded(inputs, columns, tokenizer, settings["max_length"])
    model, _ = classifier.load_model(folder, labels, record["seed"])
    model = adapters.load(model, method, Path(params["weights"]).parent).to(device)
    batch_size = settings.get("eval_batch_size", settings["batch_size"])
    scores = evaluate_glue.logits(model, data, tokenizer, settings["precision"], batch_size, device)
    new_inputs.write(job["output"]["predictions"], texts, evaluate_glue.readable(scores, labels))
    print(f"{len(data)} predictions")


if __name__ == "__main__":
    main()
