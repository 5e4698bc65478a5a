"""Scoring of an lm-evaluation-harness benchmark that executes generated programs: in isolation, from recorded answers.

`score` is called by the job that generated the answers. The harness runs again in a process without the model, where a
dummy language model that replays those answers locks the process before the harness executes the first of them.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path

from common.core.errors import JobError
from common.tasks.math import isolation

SECONDS, SECONDS_PER_ITEM = 900, 30
CACHES = ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_MODULES_CACHE", "HF_EVALUATE_CACHE")  # of download_harness.py
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_ALLOW_CODE_EVAL": "1"}


def score(benchmark: dict, samples: dict[str, list[dict]], manager, limit: int | None, folder: Path) -> dict:
    """Return the harness's results for `samples` recorded with `predict_only`, and the `isolation` they ran in.

    Raises JobError if the benchmark requests anything other than text.
    """
    if any(
        not isinstance(answer, str) for one in samples.values() for sample in one for (answer, *_) in sample["resps"]
    ):
        raise JobError(f"{benchmark['task']}: expected answers in text. Remove `unsafe_code` from this benchmark.")
    answers = {name: {sample["doc_id"]: sample["resps"] for sample in one} for name, one in samples.items()}
    sources = {
        Path(path).parent for name in {benchmark["task"], *samples} if (path := manager.task_index[name].yaml_path)
    }
    request = {"benchmark": benchmark, "answers": answers, "limit": limit, "folders": sorted(map(str, sources))}
    seconds = SECONDS + SECONDS_PER_ITEM * sum(map(len, answers.values()))
    environment = {name: os.environ[name] for name in CACHES if name in os.environ} | OFFLINE
    found = isolation.run("common.tasks.math.programs", request, folder, seconds, environment)
    if found["isolation"] != isolation.WHOLE:
        print(
            f"WARNING: isolation of the generated programs: {found['isolation']} instead of {isolation.WHOLE}. They "
            "had this user's rights. Allow user namespaces (`unshare --user --net --mount`) on this machine."
        )
    return found


def main() -> None:
    """Handle one request in the process that `score` starts."""
    request, replies = isolation.begin()
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    class Recorded(LM):
        """A language model that replays recorded answers."""

        def generate_until(self, requests, disable_tqdm=False):
            request["isolation"] = isolation.lock(request)  # only scoring follows
            seen, given = Counter(), []
            for one in requests:
                place = one.task_name, one.doc_id, one.idx
                given.append(request["answers"][one.task_name][str(one.doc_id)][one.idx][seen[place]])
                seen[place] += 1
            return given

        def loglikelihood(self, requests, disable_tqdm=False):
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    benchmark = request["benchmark"]
    found = simple_evaluate(
        Recorded(),
        tasks=[benchmark["task"]],
        num_fewshot=benchmark["shots"],
        limit=request["limit"],
        task_manager=TaskManager(include_path=request["folders"], include_defaults=False),
        log_samples=False,
        confirm_run_unsafe_code=True,
    )
    reply = {name: found[name] for name in ("results", "n-shot", "versions")}
    reply |= {"configs": dict.fromkeys(found["configs"]), "isolation": request["isolation"]}
    json.dump(reply, replies, default=str)
    replies.flush()


if __name__ == "__main__":
    sys.exit(main())
