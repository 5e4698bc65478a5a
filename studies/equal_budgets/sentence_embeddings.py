"""The comparison's encoder without fine-tuning: baselines of SST-2, and the abilities that a run has kept.

all-MiniLM-L6-v2 was trained so that the cosine of two sentences' mean embeddings is their similarity. The correlation
of this cosine on STS-B, after training on SST-2, measures what the run has kept.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import pearsonr, spearmanr
from transformers import AutoModel, AutoTokenizer

from hra_workflow.core import manifests, records
from hra_workflow.models import adapters, classifier

BATCH = 100


def embed(encoder, tokenizer, texts: list[str]) -> np.ndarray:
    """Return the mean over tokens of the last hidden states of `texts`, (n, width)."""
    found = np.empty((len(texts), encoder.config.hidden_size), np.float32)
    order = np.argsort([len(text) for text in texts])
    with torch.inference_mode():
        for start in range(0, len(texts), BATCH):
            chosen = order[start : start + BATCH]
            batch = tokenizer(
                [texts[index] for index in chosen], padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
            hidden, mask = encoder(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
            found[chosen] = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
    return found


def similarity(encoder, tokenizer, pairs: pd.DataFrame) -> float:
    """Return the mean of Pearson's and Spearman's correlation of cosine and score, in percent, on STS-B's pairs."""
    first, second = (embed(encoder, tokenizer, list(pairs[column])) for column in ("sentence1", "sentence2"))
    cosine = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    return 100 * (pearsonr(cosine, pairs["score"])[0] + spearmanr(cosine, pairs["score"])[0]) / 2


def add_kept(study: Path, dataset: str, data: Path, runs: list[dict]) -> None:
    """Add `kept` to the rows of the runs on a dataset with two classes.

    study: the folder with `results` and `resources`. data: the folder with STS-B's files, glue_stsb.
    """
    model_folder, tokenizer, pairs = of_study(study, data)
    for row in runs:
        folder = study / "results/glue" / dataset / row["run"] / f"seed{row['seed']}"
        record = records.read(folder / "train.json")
        model, _ = classifier.load_model(model_folder, ["negative", "positive"], row["seed"])
        model = adapters.load(model, record["made_from"]["settings"]["method"], folder / "last").eval()
        whole = model.get_base_model() if hasattr(model, "get_base_model") else model
        row["kept"] = similarity(whole.base_model, tokenizer, pairs)


def frozen(study: Path, data: Path) -> dict:
    """Return the row of the frozen encoder's baselines, without its set."""
    model_folder, tokenizer, pairs = of_study(study, data)
    data_folder = manifests.folder(study / "resources/datasets/glue/sst2-sentences.manifest.json")
    encoder = AutoModel.from_pretrained(model_folder).eval()
    found = {"score": logistic(encoder, tokenizer, data_folder), "kept": similarity(encoder, tokenizer, pairs)}
    return {"run": "Logistic regression, frozen encoder", "seed": 0} | found


def of_study(study: Path, data: Path) -> tuple[Path, Any, pd.DataFrame]:
    """Return the folder of the encoder, its tokenizer and the pairs of STS-B's dev and test sets."""
    model_folder = manifests.folder(study / "resources/models/minilm-l6.manifest.json")
    names = ["sentence1", "sentence2", "score"]
    pairs = pd.concat(pd.read_csv(data / f"glue_stsb/stsb-en-{part}.csv", names=names) for part in ("dev", "test"))
    return model_folder, AutoTokenizer.from_pretrained(model_folder), pairs


def logistic(encoder, tokenizer, data_folder: Path) -> float:
    """Return the accuracy, in percent, of logistic regression on embeddings, with a penalty chosen by five folds."""
    from sklearn.linear_model import LogisticRegressionCV

    train, test = (pd.read_parquet(data_folder / f"{split}.parquet") for split in ("train", "validation"))
    inputs = [embed(encoder, tokenizer, list(rows["sentence"])) for rows in (train, test)]
    fitted = LogisticRegressionCV(Cs=[0.1, 1, 10, 100, 1000], cv=5, max_iter=2000).fit(inputs[0], train["label"])
    return 100 * float(fitted.score(inputs[1], test["label"]))
