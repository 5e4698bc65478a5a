"""Subject-driven generation with text-to-image models: class names, prompts, and the images that a run generates."""

from pathlib import Path

from hra_workflow import methods
from hra_workflow.core.errors import expect, one_of
from hra_workflow.evaluators import registry
from hra_workflow.models import diffusion
from hra_workflow.tasks.datasets import generated
from hra_workflow.tasks.images import ImageTask
from hra_workflow.tasks.subject import captions

PROBED = 4  # number of images that a probe trains on


class Subject(ImageTask):
    name = "subject"
    title = "Subject-driven generation"
    keys = "hra_workflow.tasks.subject.keys"
    architecture = "unet"
    required = ("max_steps", "epoch_steps", "keep_epochs", "prior_weight", "gradient_checkpointing")
    selections = ("best_on_test", "last")
    benchmark = "prompts"
    reference_images = "references"
    identity = ("prompt_index", "index", "prompt")  # the key has the step
    lambda_sources = ("", "Table 4")
    own_rules = ("generate_class_images",)
    pipeline_tag = "text-to-image"
    predicts_from = (("prompts",),)

    def __init__(self, config: dict):
        super().__init__(config)
        if self.settings and self.settings["generation"]["epochs"] == "last":
            self.selections = ("last",)  # the only evaluated checkpoint

    def check_settings(self) -> None:
        key, prompts, evaluation = f"config: tasks.{self.name}", self.settings["prompts"], self.settings["evaluation"]
        classes: dict[str, str] = {}
        for name, entry in self.datasets.items():
            place = f"config: datasets.{self.name}.{name}"
            if "prompts" in entry:
                one_of(f"{place}.prompts", "list", entry["prompts"], prompts)
            first = classes.setdefault(captions.slug(entry["class"]), entry["class"])
            expect(
                first == entry["class"],
                f"{place}.class: {entry['class']!r} and {first!r} would share a folder. "
                "Use identical spelling, or choose a different class name",
            )
        used = {run["dataset"] for run in self.runs()}
        for name in used:
            one_of(f"{key}.grid", "dataset", name, self.datasets)
        expect(
            evaluation["prompts"] != "official" or "live" in prompts,
            f"{key}.evaluation.prompts: official needs the list tasks.{self.name}.prompts.live",
        )
        super().check_settings()
        of_run = registry.of_run(evaluation["evaluators"])
        expect(
            not of_run,
            f"{key}.evaluation.evaluators: expected one score per image, found {', '.join(of_run)} for all images "
            "together. Remove the evaluator",
        )
        for name in used:
            for metric in evaluation["best_by"]:
                one_of(f"{key}.evaluation.best_by", "metric", metric, self.image_metrics(name))

    def check_runs(self) -> None:
        super().check_runs()
        if not (name := self.model_architecture()):
            return
        key, known = f"config: tasks.{self.name}", diffusion.ARCHITECTURES[name]
        scheduler = self.settings["class_images"]["scheduler"]
        expect(
            scheduler == "model" or not known.own_solver,
            f"{key}.class_images.scheduler: expected model, found {scheduler}, which does not generate images with "
            f"{known.title}",
        )
        expect(
            known.text_layers or "text_layers" not in self.settings,
            f"{key}.text_layers: {known.title} has no choice of layers. Remove the key",
        )

    # Data

    def download(self, name: str) -> dict:
        number = len(self.datasets[name].get("captions", ()))
        return {"resolution": self.settings["resolution"]} | ({"images": number} if number else {})

    def check_files(self, name: str, user_files: dict[str, Path], folder: Path) -> dict[str, dict]:
        from hra_workflow.data import subject_images

        subject_images.check(user_files, **self.download(name))
        return {"images": {"rows": len(user_files)}}

    @classmethod
    def convert(cls, name: str, entry: dict, raw: Path, out: Path, user_files: dict[str, Path]) -> dict[str, int]:
        from hra_workflow.data import image_tables, images, subject_images

        tables = sorted(raw.rglob("*.parquet"))
        if tables and not any(images.is_image(path.name) for path in raw.rglob("*")):
            image_tables.unpack(tables, out)
        kept = out if any(out.iterdir()) else raw
        found = user_files or {path.relative_to(kept).as_posix(): path for path in images.listed(kept)}
        subject_images.check(found, entry["resolution"], entry.get("images"))
        return {"images": len(found)}

    def nouns(self) -> dict[str, str]:
        """Return the class names by their slug."""
        return {captions.slug(entry["class"]): entry["class"] for entry in self.datasets.values()}

    def prompts(self, dataset: str, identifier: bool = True, official: bool = False) -> list[str]:
        """Return the prompts of a subject. `official`: the live-subject prompts for every subject."""
        entry = self.datasets[dataset]
        templates = [entry["captions"][number] for number in captions.tested(entry) or ()]
        templates = templates or self.settings["prompts"]["live" if official else entry["prompts"]]
        words = captions.phrase(self.settings["identifier"] if identifier else None, entry["class"])
        return [template.replace("{subject}", words) for template in templates]

    def check_entry(self, key: str, name: str) -> None:
        captions.check(key, self.datasets[name])

    def probe(self, dataset: str, rows: int, hyperparameters: dict) -> tuple[dict[str, dict], dict]:
        generation, side = self.settings["generation"], self.settings["resolution"]
        images = min(generation["images"], generation["batch_size"])
        prompts = -(-generation["batch_size"] // images)
        entry = captions.probe(self.datasets[dataset], PROBED, prompts)
        source = generated("images", rows={"train": len(entry.get("captions", ())) or PROBED}, size=side)
        return {"preflight": entry | {"source": source}}, {
            "prompts": {name: listed[:prompts] for name, listed in self.settings["prompts"].items()},
            "class_images": self.settings["class_images"] | {"images": generation["batch_size"]},
            "generation": generation | {"images": images, "shards": 1, "epochs": "last"},
        }

    # Training

    def training_prompts(self, dataset: str) -> dict:
        """Return the training prompts of the subject's images (`instance`) and of the class images (`class`).

        `subject`: the words for the subject in `instance`. With captions, `instance` is the caption of every image,
        None for images that are not trained on.
        """
        entry = self.datasets[dataset]
        words = captions.phrase(self.settings["identifier"], entry["class"])
        own = [text and text.replace("{subject}", words) for text in captions.trained(entry)]
        return {
            "subject": words,
            "instance": own or self.settings["training_prompt"].replace("{subject}", words),
            "class": self.class_prompt(entry["class"]),
        } | self.text_layers()

    def class_prompt(self, noun: str) -> str:
        """Return the prompt of the images of a class."""
        return self.settings["training_prompt"].replace("{subject}", noun)

    def class_images(self, dataset: str, run: str) -> str | None:
        """Return the slug of the class whose images a run trains on; None without prior preservation."""
        preserves = methods.trains(self.config, run) and self.hyperparameters(dataset, run)["prior_weight"]
        return captions.slug(self.datasets[dataset]["class"]) if preserves else None

    def snapshot_steps(self, dataset: str, run: str) -> list[int]:
        """Return the steps of a run after which its weights are saved."""
        return snapshot_steps(self.hyperparameters(dataset, run), methods.trains(self.config, run))

    def errors_before(self, run: dict) -> list[str]:
        noun = self.class_images(run["dataset"], f"{run['method']}/{run['variant']}")
        return [f"class_images/{noun}/generate.error.json"] if noun else []

    # Generation

    def generated_steps(self, dataset: str, run: str) -> list[int]:
        """Return the steps of a run whose weights generate images."""
        steps = self.snapshot_steps(dataset, run)
        return steps if self.settings["generation"]["epochs"] == "all" else steps[-1:]

    def sampling(self) -> dict:
        """Return the settings that generated images depend on; the number of shards is not one of them."""
        names = ("batch_size", "images", "inference_steps", "guidance", "safety_checker", "precision")
        own = {name: self.settings["generation"][name] for name in names}
        return own | {"resolution": self.settings["resolution"]} | self.text_layers()

    def text_layers(self) -> dict:
        """Return the key `text_layers` of training and generation; {}: those of the model's training."""
        return {key: self.settings[key] for key in ("text_layers",) if key in self.settings}

    def class_sampling(self) -> dict:
        """Return these settings for class images, without the safety checker, since runs train on them."""
        own = {name: self.settings["class_images"][name] for name in ("images", "scheduler", "inference_steps")}
        return self.sampling() | own | {"safety_checker": False}

    def class_prompts(self, noun: str) -> list[str]:
        """Return the prompts of the images of a class, by its slug."""
        return [self.class_prompt(self.nouns()[noun])]

    # Evaluation

    def image_metrics(self, dataset: str) -> list[str]:
        return [*super().image_metrics(dataset), "blocked"]

    def scoring_settings(self, dataset: str) -> dict:
        """Return the settings that the evaluation of a subject's images depends on."""
        entry, prompts = self.settings["evaluation"], self.prompts
        official, references = entry["prompts"] == "official", captions.tested(self.datasets[dataset])
        return {
            "evaluators": entry["evaluators"],
            "best_by": entry["best_by"],
            "prompts": prompts(dataset, official=official),
            "prompts_class": prompts(dataset, False, official=official),
        } | ({"references": references} if references else {})

    # Tables

    @classmethod
    def per_item(cls, lines: list[dict], selection: str, metric: str, settings: dict) -> list[tuple] | None:
        from hra_workflow.evaluators import aggregation

        if not all("key" in line and metric in line for line in lines):  # real images have no prompts
            return None
        prompts = 1 + max(line["prompt_index"] for line in lines)
        names = [metric] if selection == "last" else list(dict.fromkeys([metric, *settings["best_by"]]))
        table = aggregation.table(lines, names, prompts)
        chosen = aggregation.last(table)
        if selection == "best_on_test":
            chosen = aggregation.best_on_test(table, settings["best_by"])
        return [(value,) for value in chosen[metric]]

    def comparison(self) -> dict:
        return {"best_by": self.settings["evaluation"]["best_by"]}

    # Plan

    def work(self, stage: str, wildcards: dict) -> float | None:
        """Return the number of images that training steps, the sampler or an evaluation process."""
        if stage == "generate" and "noun" in wildcards:
            return self.settings["class_images"]["images"]
        if stage not in ("train", "generate", "evaluate"):
            return super().work(stage, wildcards)
        name, run = wildcards.get("dataset"), f"{wildcards.get('method')}/{wildcards.get('variant')}"
        if stage == "train":
            values = self.hyperparameters(name, run)
            return values["max_steps"] * values["batch_size"] * (2 if values["prior_weight"] else 1)
        images = self.settings["generation"]["images"] * len(self.prompts(name))
        return images * len(self.generated_steps(name, run)) / int(wildcards.get("n_shards", 1))

    # Finished runs

    def prediction(self, dataset: str, run: str) -> dict:
        return {"sampling": self.sampling()}


def snapshot_steps(hyperparameters: dict, trains: bool = True) -> list[int]:
    """Return the checkpoint steps: the end of every epoch, including the last step.

    The official training has one epoch per 200 class images: 2005 steps are eleven epochs, the last with five steps.
    """
    if not trains:
        return [0]
    last = hyperparameters["max_steps"]
    epoch = hyperparameters["epoch_steps"] if hyperparameters["keep_epochs"] == "all" else last
    return [*range(epoch, last, epoch), last]


TASK = Subject
