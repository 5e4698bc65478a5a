"""Reinforcement learning: sampled answers are rewarded, and an interrupted run ends with the same bytes."""

import pandas
import pytest
from trl.trainer.utils import RepeatSampler

import hra
import train_math
from hra_workflow.config import validation
from hra_workflow.core import files, manifests
from hra_workflow.core.errors import JobError
from hra_workflow.models import causal_lm, prompts
from hra_workflow.preflight import probe
from rule_jobs import maker, train
from saved_states import check_same, stop_after
from studies.peft_rlmath import grpo, task
from sums import MathRun, math_method, start_of
from support import put, with_files
from two_ranks import on_two_ranks, train_one_rank

FILE = "studies/peft_rlmath/config.yaml"
REWARDED = {  # in addition, and without epochs, for training by rewards
    "max_steps": 4, "batch_size": 2, "gradient_accumulation": 2, "schedule": "constant", "warmup_steps": 0,
    "group_by_length": False, "reward": "lenient", "answer": "metamath", "num_generations": 4,
    "generation_batch_size": 4, "max_completion_length": 8, "temperature": 1.0, "top_p": 0.95, "top_k": 20,
    "min_p": 0.0, "repetition_penalty": 1.0, "beta": 0.001, "epsilon": 0.2, "num_iterations": 1, "loss_type": "grpo",
    "scale_rewards": "group", "importance_sampling_level": "token", "mask_truncated_completions": False,
}  # fmt: skip


class RewardedRun(MathRun):
    GIVEN = MathRun.GIVEN | {"learner": task.RewardedMath.learner}


def right_by_chance(reward: str, style: str, output: str, gold: str) -> bool:
    return sum(map(ord, output)) % 2 == 0


@pytest.fixture
def make_rewarded_run(tmp_path, tiny_math, monkeypatch):
    """Provide make_rewarded_run(method, name, **settings), whose answers are right by chance."""
    monkeypatch.setattr(task, "is_right", right_by_chance)

    def made(method, name="run", **settings):
        run = maker(RewardedRun, tmp_path, tiny_math)(method, name, **REWARDED | settings)
        del run.settings["epochs"]
        return run

    return made


@pytest.fixture(scope="module")
def prompt(tiny_math):
    folder = manifests.folder(tiny_math["model"])
    return prompts.Prompt({"template": "Q: {question}\nA:"}, causal_lm.load_tokenizer(folder), folder)


@pytest.mark.slow
def test_an_interrupted_run_resumes_where_a_generation_ends(make_rewarded_run):
    whole, run = (make_rewarded_run(math_method("hra"), name) for name in ("whole", "run"))
    fresh = train(whole)
    assert fresh["steps"] == 4 and fresh["score"] == "reward" and "trl" in fresh["made_from"]["versions"]
    assert [entry["step"] for entry in fresh["curve"]] == [1, 3]  # a generation is two steps
    assert {entry["metrics"]["reward"] for entry in fresh["curve"]} <= {0.25, 0.5, 0.75}, "no reward differs"
    stop_after(2, lambda: train_math.main(run.train))
    record = train(run)
    assert (record["attempts"], record["resumed_from"]) == (2, [2])
    check_same(record | {"attempts": 1, "resumed_from": []}, run.weights, fresh, whole.weights)


def rewarded_rank(job: dict, step: int | None = None) -> None:
    task.is_right = right_by_chance
    train_one_rank(job, step)


@pytest.mark.full
def test_two_processes_train_one_model(make_rewarded_run, tmp_path):
    jobs = [make_rewarded_run(math_method("hra"), name, gradient_accumulation=1).train for name in ("whole", "stopped")]
    for job in jobs:
        job["resources"] |= {"gpu": 2}
    for name, *arguments in (("all", jobs[0]), ("first", jobs[1], 2), ("second", jobs[1])):
        (tmp_path / name).mkdir()
        on_two_ranks(rewarded_rank, tmp_path / name, *arguments)
    whole, stopped = (files.read_json(job["output"]["record"]) for job in jobs)
    assert (whole["processes"], whole["steps"], stopped["resumed_from"]) == (2, 4, [2])
    assert whole["curve"] == stopped["curve"] and whole["weights_sha256"] == stopped["weights_sha256"]


@pytest.mark.slow
def test_a_signal_within_a_generation_stops_at_its_end(make_rewarded_run, monkeypatch):
    run, sent = make_rewarded_run(math_method("lora")), []
    step = grpo.ResumableGRPOTrainer.training_step

    def signalled(self, *arguments):
        if self.state.global_step == 0 and not sent:
            sent.append(1)
            self.callback_handler.callbacks[-1].stopped = "signal"
        return step(self, *arguments)

    monkeypatch.setattr(grpo.ResumableGRPOTrainer, "training_step", signalled)
    with pytest.raises(Exception, match="stopped at step 2 of 4: signal"):
        train_math.main(run.train)


@pytest.mark.slow
def test_the_penalty_is_added_and_the_reference_is_the_base_model(make_rewarded_run, monkeypatch):
    seen, init = [], grpo.ResumableGRPOTrainer.__init__

    def noted(self, **keywords):
        init(self, **keywords)
        seen.append(list(self.model.peft_config))

    monkeypatch.setattr(grpo.ResumableGRPOTrainer, "__init__", noted)
    losses = [
        train(make_rewarded_run(math_method("hra", **penalty), name, max_steps=2))["curve"][0]["metrics"]["loss"]
        for name, penalty in (("with", {"lambda": 0.1}), ("without", {}))
    ]
    run = make_rewarded_run(math_method("hra"), "start")
    assert losses[0] - losses[1] == pytest.approx(0.1 * hra.orthogonality_penalty(start_of(run)).item(), rel=1e-3)
    assert seen == [["default"], ["default"]]


def test_questions_are_in_the_order_of_trl_over_several_epochs(tiny_math, prompt):
    settings = REWARDED | {"max_length": 48, "max_steps": 90, "num_generations": 2}
    settings |= {"generation_batch_size": 6}  # three questions for three steps: 90 questions of 64
    folder = manifests.folder(tiny_math["dataset"])

    def gold(text: str) -> str:
        return text.rpartition(": ")[2]

    rows = grpo.questions(folder, prompt, settings, 42, gold)
    sampler = RepeatSampler(range(64), mini_repeat_count=2, batch_size=3, repeat_count=3, seed=42)
    order = [*each_once(sampler), *each_once(sampler)]
    asked = pandas.read_parquet(folder / "train.parquet")["question"]
    assert len(order) == 126 and [row["prompt"] for row in rows] == [prompt.text(asked[at]) for at in order[:90]]
    assert {row["reference"].isdigit() for row in rows} == {True}
    assert len(grpo.questions(folder, prompt, settings | {"max_steps": 91}, 42, gold)) == 93  # a whole generation more

    def none(text: str) -> str:
        raise ValueError

    for changes, golds, message in (
        ({"max_length": 11}, gold, r"no question of train fits into .* = 3 tokens"),
        ({"generation_batch_size": 130}, gold, "expected at least 65 questions for a generation, found 64"),
        ({}, none, "expected final answers in the rows of train, found none"),
    ):
        with pytest.raises(JobError, match=message):
            grpo.questions(folder, prompt, settings | changes, 0, golds)


def each_once(sampler) -> list[int]:
    """Return the questions of an epoch of TRL's sampler, each once."""
    block, found = sampler.batch_size * sampler.mini_repeat_count, list(sampler)
    return [
        index
        for first in range(0, len(found), block * sampler.repeat_count)
        for index in found[first : first + block : sampler.mini_repeat_count]
    ]


def test_a_reward_is_the_grade_of_the_decoded_output(prompt):
    reward = grpo.rewards(lambda output, gold: task.is_right("strict", "metamath", output, gold), prompt.tokenizer)
    ids = [prompt.tokenizer(f"The answer is: {value}")["input_ids"] for value in (7, 8)]
    ids[0].append(prompt.tokenizer.eos_token_id)
    assert reward(completion_ids=ids, reference=["7", "7"], prompts=[], trainer_state=None) == [1.0, 0.0]


def test_an_answer_is_rewarded_by_its_last_number():
    output = "The answer is: 6 and 12, so 18 apples are left."
    assert [task.is_right("lenient", "gsm8k", output, gold) for gold in ("18", "6")] == [True, False]
    assert task.is_right("lenient", "boxed", r"It is \boxed{5}. The answer is: none", "5")  # by the second reading


ALL = "presets.math.peft-rlmath.all"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{ALL}.reward", "bozed", "reward: expected one of official, .*, boxed, or module:name .* found 'bozed'"),
        (f"{ALL}.max_completion_length", 1536, "leaves no room for a question in max_length: found 1536 of 1536"),
        (f"{ALL}.generation_batch_size", 12, "expected .* a multiple of num_generations = 8, found 12"),
        (f"{ALL}.num_generation", 8, r"num_generation: unknown key \(is it 'num_generations'"),
        ("tasks.math.class", None, "reward: unknown key"),
        (f"{ALL}.quantization", "nf4", "`reward` needs a base model that is not quantised"),
        (f"{ALL}.loss_on", "text", "learns from sampled answers only"),
        (f"{ALL}.vllm", {"gpu_memory_utilization": 0.5}, "which has none. Set vllm: null"),
        ("tasks.math.tune", {"search": {"learning_rate": [1e-5]}, "trials": 1}, "trials compare losses"),
    ],
)
def test_what_cannot_be_rewarded_is_one_message(path, value, message):
    config = with_files(FILE)
    config["tasks"]["math"]["resources"]["gpu"] = 0 if path.endswith("vllm") else 1
    put(config, path, value)
    with pytest.raises(JobError, match=message):
        validation.check(config)


def test_a_probe_is_killed_and_ends_where_answers_do():
    config = with_files(FILE) | {"preflight": True}
    changes = {"generation_batch_size": 64, "vllm": {"enable_sleep_mode": True}}  # 64 answers: for 16 steps
    config["presets"]["math"]["peft-rlmath"]["all"] |= changes
    made = probe.config_of(config)["presets"]["math"][probe.NAME]["methods"].values()
    assert {one["max_steps"] for one in made} == {32} and sum(one["kill_at_step"] for one in made) == 16
    assert all(one["vllm"] for one in made) and {one["period"] for one in made} == {16}
    config["probes"]["command"] = "profiler"
    found = probe.config_of(config)["presets"]["math"][probe.NAME]["methods"]
    assert not any("vllm" in one for one in found.values())
