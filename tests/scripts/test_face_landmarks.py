"""Detectors of the 68 landmarks: face-alignment's code with random weights."""

import numpy
import pytest
import torch
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.evaluators import registry


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights under the names and in the layout of face-alignment's files; S3FD's see no face anywhere."""
    from face_alignment.api import FAN
    from face_alignment.detection.sfd.net_s3fd import s3fd

    folder = tmp_path_factory.mktemp("python-fan")
    torch.manual_seed(0)
    torch.save(FAN(4).state_dict(), folder / "2DFAN4-11f355bf06.pth.tar")
    detector = s3fd().state_dict()
    for name, tensor in detector.items():
        if name.endswith("conf.bias"):
            tensor[:-1], tensor[-1] = 1e4, -1e4
    torch.save(detector, folder / "s3fd-619a316812.pth")
    return folder


@pytest.fixture(scope="module")
def face_alignment(weights):
    return registry.load({"kind": "face-alignment"}, weights)


@pytest.mark.slow
def test_face_alignment_runs_from_files(face_alignment, monkeypatch):
    """Check that no face gives nothing, and given boxes give 68 points each in image pixels, in the boxes' order."""
    picture = Image.effect_noise((96, 80), 60).convert("RGB")
    assert face_alignment.faces(picture) == []
    boxes = [numpy.array([8, 8, 40, 40, 0.9]), numpy.array([50, 30, 80, 60, 0.6])]
    monkeypatch.setattr(face_alignment.network.face_detector, "detect_from_image", lambda pixels: boxes)
    found = face_alignment.faces(picture)
    assert [points.shape for points in found] == [(68, 2), (68, 2)]
    for points, (left, top, right, bottom, _) in zip(found, boxes, strict=True):
        middle = numpy.array([(left + right) / 2, (top + bottom) / 2])
        assert (abs(points - middle) < 2 * (right - left)).all()


def test_missing_weights(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "2DFAN4-11f355bf06.pth.tar")
    with pytest.raises(JobError, match=r"expected one file s3fd-\*\.pth, found 0"):
        registry.load({"kind": "face-alignment"}, tmp_path)
