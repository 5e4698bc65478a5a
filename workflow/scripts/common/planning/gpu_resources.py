"""Apply a profile's GPU-specific resources to GPU jobs, since its `default-resources` cannot depend on `gpu`."""

PREFIX = "with_gpu_"


def apply(workflow) -> None:
    """Replace the default resource `with_gpu_X` with X in every GPU job; `{gpu}` in it is the number of its GPUs.

    A job without a GPU keeps the default X. `--set-resources` takes precedence, as over any default.
    """
    for rule in workflow.rules:
        stated = {name: rule.resources[name] for name in rule.resources if name.startswith(PREFIX)}
        kept = {name: rule.resources[name] for name in rule.resources if name not in stated}
        rule.resources = type(rule.resources)(kept)
        set_by_hand = workflow.resource_settings.overwrite_resources.get(rule.name, ())
        for name, resource in stated.items() if "gpu" in kept else ():
            target = name.removeprefix(PREFIX)
            if target not in set_by_hand:
                rule.resources[target] = chosen(kept["gpu"], resource, kept.get(target))


def chosen(gpu, with_gpu, without):
    """Return the resource as a function of the job."""

    def value(wildcards, **job):
        count = gpu.evaluate(wildcards, **job).value
        if count:
            return str(with_gpu.evaluate(wildcards, **job).value).replace("{gpu}", str(count))
        return without and without.evaluate(wildcards, **job).value

    return value
