"""How many jobs generate a run's images, and which jobs share a GPU."""

from snakemake.iocontainers import Wildcards

from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.snakemake_bridge import gpu_resources
from hra_workflow.tasks import work
from support import paper_config, put


def bound(change=lambda config: None) -> dict[str, tasks.Task]:
    config = paper_config()
    change(config)
    return tasks.load(config)


def test_the_number_of_shards_follows_the_work_unless_the_config_states_it():
    def slow(config):
        for name, speed in (("subject", 0.05), ("control", 0.1)):
            config["tasks"][name]["generation"]["resources"]["rows_per_second"] = speed

    hra = {"method": "hra", "variant": "r8", "seed": 0}
    dog, coco = hra | {"dataset": "dog", "benchmark": "prompts"}, hra | {"dataset": "coco", "benchmark": "validation"}
    images = 11 * 25 * 4
    found = bound(slow)
    assert found["subject"].shards(dog) == -(-images * 20 // 7200) == 4
    assert found["control"].shards(coco) == -(-5000 * 10 // 7200) == 7
    assert found["subject"].class_shards() == 1 and not work.in_one_shard(found["subject"])
    assert bound(lambda config: put(config, "tasks.subject.generation.shards", 5))["subject"].shards(dog) == 5
    assert work.in_one_shard(bound()["subject"])


def test_only_the_first_attempt_of_what_trains_on_a_gpu_shares_it():
    config = paper_config()
    entry = config["tasks"]["glue"]["resources"]
    entry["runs_per_gpu"] = {"default": 3, "boft": 2}
    validation.check(config)

    def shared(method="hra", attempt=1):
        wildcards = Wildcards(fromdict={"task": "glue", "method": method, "variant": "r8"})
        return gpu_resources.jobs_per_gpu(config, wildcards, attempt)

    assert (shared(), shared("boft"), shared(attempt=2), shared("base")) == (3, 2, 1, 1)
    entry["gpu"] = 0
    assert shared() == 1
    entry["gpu"] = 1
    config["preflight"] = "jobs"
    assert shared() == 1
