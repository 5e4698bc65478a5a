"""Answer new questions with a finished run, and write a CSV file.

It has the user's columns, `output` and `final_answer`.

Answers are generated greedily, as for the benchmarks (generate_math.py). A file that also has a
column `answer` can be graded: hra-workflow grade …/predictions.csv
"""

import contextlib

import generate_math
from hra_workflow.core import finished_run, manifests
from hra_workflow.core.job import script
from hra_workflow.data import new_inputs
from hra_workflow.models import causal_lm, prompts
from hra_workflow.tasks.math import answers
from hra_workflow.tasks.math.task import with_suffix


@script
def main(job: dict) -> None:
    params = job["params"]
    record = finished_run.read_requested(params["record"], params["weights"], params["model"], job["wildcards"])
    settings = params["settings"] | record["hyperparameters"]  # for a run that trains nothing, the config's
    given = new_inputs.table(params["given"]["prompts"], [settings["column"]], **settings["reading"])
    questions = given[settings["column"]]
    folder = manifests.folder(params["model"])
    asked_with = with_suffix(record["made_from"]["settings"]["prompt"], settings["evaluation_suffix"])
    prompt = prompts.Prompt(asked_with, causal_lm.load_tokenizer(folder), folder)
    names = ("generation", "precision", "quantization")
    params |= {name: settings[name] for name in names} | {"method": record["made_from"]["settings"]["method"]}
    asked = generate_math.part(params, "questions", questions, settings["max_new_tokens"], prompt)
    run = generate_math.Run(job | {"params": params, "input": {"last": params["weights"]}}, folder, prompt)
    run.check_lengths(asked)
    said = {item: text for _, item, text, _ in run.answers([asked])}
    outputs = [generate_math.cut(said[item], settings["generation"]["stop"]) for item in range(len(questions))]
    final = {"output": outputs, "final_answer": [*map(final_answer, outputs)]}
    new_inputs.write(job["output"]["predictions"], given, final)
    print(f"{len(questions)} answers")


def final_answer(output: str) -> str:
    """Return the answer that an output marks in one of the styles, else its last number, or an empty text."""
    for style in ("metamath", "boxed", "gsm8k"):
        with contextlib.suppress(ValueError):
            return answers.gold(style, output)
    return next(iter(answers.lenient_readings("gsm8k", output)), "")


if __name__ == "__main__":
    main()
