"""How many jobs generate a run's images, and which of the jobs on images request a GPU, or share one."""

from snakemake.iocontainers import Wildcards

from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.snakemake_bridge import gpu_resources
from hra_workflow.tasks import work
from support import paper_config


def bound(change=lambda config: None) -> dict[str, tasks.Task]:
    config = paper_config()
    change(config)
    return tasks.load(config)


def test_the_number_of_shards_follows_the_work_unless_the_config_states_it():
    def slow(config):
        for name, speed in (("subject", 0.05), ("control", 0.1)):
            config["tasks"][name]["generation"]["resources"]["rows_per_second"] = speed

    def stated(config):
        config["tasks"]["subject"]["generation"]["shards"] = 5

    hra = {"method": "hra", "variant": "r8", "seed": 0}
    dog, coco = hra | {"dataset": "dog", "benchmark": "prompts"}, hra | {"dataset": "coco", "benchmark": "validation"}
    images = 11 * 25 * 4
    found = bound(slow)
    assert found["subject"].shards(dog) == -(-images * 20 // 7200) == 4
    assert found["control"].shards(coco) == -(-5000 * 10 // 7200) == 7
    assert found["subject"].class_shards() == 1 and not work.in_one_shard(found["subject"])
    assert bound(stated)["subject"].shards(dog) == 5
    found = bound()
    assert work.in_one_shard(found["subject"]) and work.in_one_shard(found["control"])

    def unknown(config):
        del config["tasks"]["control"]["generation"]["resources"]["rows_per_second"]

    assert bound(unknown)["control"].shards(coco) == 1


def test_the_answers_of_the_base_model_run_to_their_limit():
    task = bound()["math"]
    run = {"dataset": "metamathqa-40k", "seed": "0", "n_shards": "1"}
    trained, base = (
        run | {"method": method, "variant": variant} for method, variant in (("hra", "r32"), ("base", "pretrained"))
    )
    assert task.work("generate", base) == 7 * task.work("generate", trained) > 0


def test_only_a_custom_hint_may_request_a_gpu():
    def change(config):
        config["tasks"]["control"]["hints"]["resources"]["gpu"] = 4
        config["datasets"]["control"]["celeba-hq"]["hint"] = "my_hints:depth"

    found = bound(change)["control"]
    assert [found.hint_gpus(name) for name in ("coco", "ade20k", "celeba-hq")] == [0, 0, 1]
    assert bound()["control"].hint_gpus("coco") == 0


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
