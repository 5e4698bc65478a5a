# Functions that list the files and look up the resources of one stage or task; common.smk has those that all stages share.
# In:  the config, the runs.  Out: functions of wildcards.

from hra_workflow.tasks.math import extra_tables


def existing(file, task, runs, benchmark=None):
    """List a file of every run; with `incomplete: true`, only the files that exist."""
    paths = [file.format(**{"task": task, "benchmark": benchmark} | run) for run in runs]
    return [path for path in paths if Path(path).exists()] if config["incomplete"] else paths


def downloaded(*inputs):
    """Return what a job is made from, the downloads that it reads; `inputs`: manifests, as in `input`."""
    return lambda wc: downloads.of_manifests(inputs, wc)


def run_of(wildcards):
    """Return the wildcards of the run that a job reads."""
    return {name: wildcards[name] for name in ("task", "dataset", "method", "variant", "seed")}


def train_rule(wildcards):
    return f"train_{wildcards.task}"


def published(name, task=None):
    """Return the file with published numbers if the task's numbers are comparable with them."""

    def path(wildcards):
        of = task or wildcards.task
        file = outputs.published_file(TASKS[of], name.format(task=of))
        return deployment.near(file) if file else []

    return path


def shard_names(count):
    return [f"shard{shard}-of-{count}" for shard in range(count)]


def shards_of(wildcards):
    """List the shards of a run's outputs for a benchmark."""
    return shard_names(TASKS[wildcards.task].shards(dict(wildcards)))


def evaluation(task, wildcards):
    return task.evaluation_resources(wildcards)


def evaluator_models(wildcards):
    """Return the models that the evaluators of generated images need."""
    names = TASKS[wildcards.task].evaluator_models(wildcards.dataset)
    return collect("<resources>/models/{name}.manifest.json", name=names)


def generates(wildcards):
    """Return the wildcards of a run's images; {} if real ones are evaluated."""
    return {} if methods.get(config, wildcards.method).real_images else wildcards


def generated_images(wildcards):
    return "<eval>/images.tar" if generates(wildcards) else []


def trials_of(wildcards):
    """List the trials of a run."""
    return tuned_runs.trials(TASKS[wildcards.task], wildcards.dataset, run_name(wildcards))


def all_trials(wildcards):
    """List the trials of all tuned runs of the task."""
    return tuned_runs.all_trials(TASKS[wildcards.task])


def expected_run(task, run):
    """Return what a run's record is made from according to the config."""
    return IDENTITIES.expected(f"train_{task}", run_of({"task": task} | dict(run)))


def expected_metrics(task, run, benchmark):
    """Return what a run's metrics on a benchmark are made from according to the config."""
    names = run_of({"task": task} | dict(run)) | {"benchmark": benchmark}
    return IDENTITIES.expected(f"evaluate_{task}", names)


def expected_trials(task, trials):
    return [expected_run(task, trial | {"variant": trial["trial"]}) for trial in trials]


def expected_results(wildcards):
    return expected_runs.expected_runs(TASKS[wildcards.task], expected_run, expected_metrics)


def metrics_files(wildcards, of=expected_runs.evaluations):
    return existing(f"{EVAL}/metrics.json", wildcards.task, of(TASKS[wildcards.task]))


def trial_table(wildcards):
    return "<results>/tune_{task}.csv" if config["tasks"][wildcards.task].get("tune") else []


def sheet_files(wildcards, name, real=False):
    """List a file of the evaluations whose images are on a contact sheet."""
    task = TASKS[wildcards.task]
    return existing(f"{EVAL}/{name}", wildcards.task, task.sheet_runs(wildcards.dataset, real), task.benchmark)


def question_manifests(wildcards):
    names = TASKS["math"].question_datasets(wildcards.dataset)
    return collect("<resources>/datasets/math/{name}.manifest.json", name=names)


def harness_tasks(wildcards):
    """Select the config keys that the data of the retention benchmarks depend on."""
    benchmarks, keys = extra_tables.harness_benchmarks(TASKS["math"]), ("task", "unsafe_code")
    return {name: {key: entry[key] for key in keys if key in entry} for name, entry in benchmarks.items()}


def retention_files(wildcards):
    if not TASKS["math"].settings.get("retention"):
        raise SystemExit(
            "Error: config: tasks.math.retention: expected the settings of a requested table, found null. Remove the line"
        )
    return existing(f"{RUN}/retention.json", "math", extra_tables.retention_runs(TASKS["math"]))


def initial_of(wildcards):
    """Return the wildcards of the initial adapter of a run; {} if it trains nothing."""
    if not methods.get(config, wildcards.method).trains:
        return {}
    own = {name: wildcards[name] for name in ("task", "method", "seed")}
    return own | {"variant": tuning.base(wildcards.variant)}


def hints_of(wildcards):
    """Return the wildcards of the control images that a run is trained and evaluated on."""
    return {"dataset": wildcards.dataset}


def class_images_of(wildcards):
    """Return the wildcards of the class images of a run; {} without prior preservation."""
    noun = TASKS["subject"].class_images(wildcards.dataset, run_name(wildcards))
    return {"noun": noun} if noun else {}


def class_images(wildcards):
    """Return the class images that a run trains on; [] without prior preservation."""
    noun = class_images_of(wildcards).get("noun")
    return f"<resources>/class_images/{noun}.tar" if noun else []
