"""Generate images of a finished run's subject from new prompts: PNG files, and predictions.csv that lists them.

In a prompt, `{subject}` stands for the words of the training prompt. For a prompt of the benchmark, the same seed gives
the benchmark's images.
"""

import re

from hra_workflow.core import finished_run
from hra_workflow.core.errors import expect
from hra_workflow.core.job import script
from hra_workflow.core.sharding import seed
from hra_workflow.data import new_inputs
from hra_workflow.models import new_images
from hra_workflow.models.diffusion.sampling import Sampler
from hra_workflow.tasks.subject.items import items


@script
def main(job: dict) -> None:
    params = job["params"]
    record = finished_run.read_requested(params["record"], params["weights"], params["model"], job["wildcards"])
    rows = new_inputs.table(params["given"]["prompts"], ["prompt"])
    words, first = record["made_from"]["settings"]["prompts"]["subject"], params["seed"]
    prompts = [prompt.replace("{subject}", words) for prompt in rows["prompt"]]
    for found, prompt in ((re.search(r"\{\w*\}", prompt), prompt) for prompt in prompts):
        expect(
            found is None,
            f"{params['given']['prompts']}: expected {{subject}} for the words of the training and nothing else in "
            f"braces, found {found and found[0]} in {prompt!r}. Correct the prompt.",
        )

    def about(item: tuple[int, int, int]) -> dict:
        _, prompt, index = item
        noise = seed("image", record["seed"] if first is None else first, prompts[prompt], index)
        return {"prompt": prompts[prompt], "index": index, "seed": noise}

    asked = items([record["steps"]], len(prompts), params["settings"]["sampling"]["images"])
    new_images.draw(job, record, asked, about, Sampler)


if __name__ == "__main__":
    main()
