"""Fine-tune one run on tones, starting at the initial adapter. A run takes seconds, so a killed one starts again.

Writes RUN/train.json (the record) and RUN/last (the weights after the last step).
"""

from hra_workflow.core import manifests
from hra_workflow.core.job import script
from hra_workflow.models import adapters
from hra_workflow.tasks.tones import network
from hra_workflow.training import attempts


@script(trains=True)
def main(job: dict) -> None:
    import torch

    params, settings = job["params"], job["params"]["hyperparameters"]
    with attempts.recorded(job) as attempt:
        waves, pitches = network.rows(manifests.folder(job["input"]["dataset"]), "train")
        size = settings["batch_size"]
        steps = settings["epochs"] * (len(waves) // size)
        attempt.begin(steps)

        torch.manual_seed(int(job["wildcards"]["seed"]))
        model, start = network.load(manifests.folder(job["input"]["model"])), adapters.initial_folder(job)
        model = adapters.start_training(model, params["method"], params["head"], start, steps)
        optimizer = torch.optim.AdamW(
            [one for one in model.parameters() if one.requires_grad], lr=settings["learning_rate"]
        )
        curve = []
        for epoch in range(settings["epochs"]):
            for batch in torch.randperm(len(waves)).split(size)[: len(waves) // size]:
                loss = torch.nn.functional.cross_entropy(model(waves[batch]), pitches[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            step = (epoch + 1) * (len(waves) // size)
            curve.append({"step": step, "epoch": epoch + 1, "metrics": {"loss": loss.item()}})

        new = attempt.new_outputs()
        adapters.save(model, new / "last")
        result = {"steps": steps, "best_step": None, "score": "loss", "curve": curve}
        attempt.publish(new, adapters.count(model, params["head"]), result)


if __name__ == "__main__":
    main()
