# Tones: a small network is fine-tuned per dataset; its last weights are evaluated.
# In:  manifests of the model, the dataset and the initial adapter.
# Out: RUN/train.json, RUN/last, EVAL/metrics.json.


use rule train as train_tones with:
    wildcard_constraints:
        task="tones",
    params:
        **made_from("train_tones", "train", head=task_head),


use rule evaluate as evaluate_tones with:
    input:
        record="<run>/train.json",
        last="<run>/last/adapter_model.safetensors",
        model=task_model,
        dataset="<resources>/datasets/{task}/{dataset}.manifest.json",
    wildcard_constraints:
        task="tones",
    params:
        **made_from(
            "evaluate_tones",
            "evaluate",
            before=dict(downloads=downloaded(task_model, "<resources>/datasets/{task}/{dataset}.manifest.json")),
            method=method_slice,
        ),
