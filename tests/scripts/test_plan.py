"""What `hra-workflow plan` prints, without a network and without Snakemake's plan."""

from hra_workflow.cost import plan
from hra_workflow.cost.planned_jobs import Job
from support import paper_config


def download(kind: str, needed: bool = True, **wildcards: str) -> Job:
    name = "/".join(wildcards.values())
    return Job(f"download_{kind}", wildcards, [f"resources/{kind}s/{name}.manifest.json"], "log", needed=needed)


def test_a_gated_download_without_a_token_is_a_warning(hub_server, here, monkeypatch):
    config = paper_config()
    jobs = [download("model", model="llama2-7b"), download("dataset", task="math", dataset="gsm8k")]
    (warning,) = plan.warnings(config, ["table_math"], jobs)
    assert warning.startswith("meta-llama/Llama-2-7b-hf: no access: gated; there is no token on this machine.")
    assert not plan.warnings(config, ["table_math"], [download("model", needed=False, model="llama2-7b")])
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert not plan.warnings(config, ["table_math"], jobs)
    assert hub_server.requests == []
