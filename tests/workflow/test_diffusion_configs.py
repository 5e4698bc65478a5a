"""Configs of diffusion models that cannot be what they say are refused."""

import pytest

from hra_workflow.config import validation
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.models import diffusion


def test_a_model_of_an_unknown_architecture_is_refused_with_the_known_ones(config, tmp_path):
    files.write_json(tmp_path / "model_index.json", {"_class_name": "KandinskyPipeline"})
    config["models"]["own"] = {"source": {"kind": "local", "path": str(tmp_path)}, "head": [], "targets": {}}
    config["tasks"]["subject"]["model"] = "own"
    with pytest.raises(JobError, match=r"StableDiffusion3Pipeline \(Stable Diffusion 3 and 3.5\); .*found Kandinsky"):
        diffusion.of_model(config, "own")
    config["models"]["own"]["architecture"] = "flux2-klein"
    files.write_json(tmp_path / "model_index.json", {"_class_name": "StableDiffusionXLPipeline"})
    with pytest.raises(JobError, match=r"own.architecture: expected stable-diffusion-xl, .*found flux2-klein"):
        diffusion.of_model(config, "own")


def test_flow_matching_has_a_scheduler_of_its_own(config):
    config["tasks"]["subject"]["model"] = "flux2-klein-base-4b"
    validation.check(config)
    config["tasks"]["subject"]["class_images"]["scheduler"] = "dpm-solver++"
    with pytest.raises(JobError, match=r"class_images.scheduler: expected model, found dpm.*FLUX.2 klein"):
        validation.check(config)
