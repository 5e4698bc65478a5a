"""Control accuracy of landmarks: the 68 points of the faces in an image, in iBUG's order."""

import warnings
from collections.abc import Collection
from pathlib import Path

import numpy
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import safe_checkpoints
from hra_workflow.evaluators.protocol import Evaluator, Needs, Reference, Scores


class Landmarks(Evaluator):
    """Distance of the points in an image to those of its source image, and fractions of images with no or more faces.

    Subclasses implement `faces(image)`: (68, 2) of x and y in pixels per face, the highest-confidence face first.
    """

    metrics = ("_error", "_error_all", "_no_face", "_several_faces")
    better = "lower"
    needs = Needs(model=True, images="source", annotation=("points",))

    def score(self, images: Collection, reference: Reference) -> Scores:
        pairs = zip(images, reference.annotations, strict=True)
        found = [landmark_scores(self.faces(image), truth, image.size) for image, truth in pairs]
        return Scores({ending: [one[ending] for one in found] for ending in self.metrics})


def landmark_scores(faces: list[numpy.ndarray], truth: numpy.ndarray, size: tuple[int, int]) -> dict:
    """Compute the mean distance in pixels between the points in one image of `size` (width, height) and the true ones.

    faces: (points, 2) per detected face; the first one, with the highest confidence, counts. truth: (points, 2) in the
    same pixels. There are two conventions for an image without a face: `_error` is None, so that the mean excludes the
    image, as in the official evaluation; `_error_all` is the largest possible error, with every point at the corner
    farthest from it, so that a missing face never improves the mean. `_no_face` and `_several_faces` are 0 or 1.
    """
    truth = numpy.asarray(truth, float)
    if faces and faces[0].shape != truth.shape:
        raise JobError(f"landmarks: expected points of shape {truth.shape} as annotated, found {faces[0].shape}.")
    found = {"_no_face": float(not faces), "_several_faces": float(len(faces) > 1)}
    if faces:
        error = float(numpy.linalg.norm(faces[0] - truth, axis=1).mean())
        return {"_error": error, "_error_all": error} | found
    farthest = numpy.maximum(truth, numpy.array(size) - truth)
    return {"_error": None, "_error_all": float(numpy.linalg.norm(farthest, axis=1).mean())} | found


class FaceAlignment(Landmarks):
    """The paper's detector: face-alignment's S3FD and 2DFAN-4 (Bulat and Tzimiropoulos 2017).

    The package would download them; here they are read from the folder: `s3fd-619a316812.pth` and
    `2DFAN4-11f355bf06.pth.tar` of https://www.adrianbulat.com/downloads/python-fan/.
    """

    def __init__(self, entry: dict, folder: Path, device: str):
        import face_alignment
        from face_alignment.api import FAN

        state = safe_checkpoints.tensors_of(folder, "2DFAN4-*.pth.tar")
        detector = safe_checkpoints.one_file(folder, "s3fd-*.pth")
        safe_checkpoints.tensors(detector)  # face-alignment unpickles the file without checks

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

    def faces(self, image: Image.Image) -> list[numpy.ndarray]:
        pixels = numpy.array(image.convert("RGB"))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No faces were detected")
            found = self.network.get_landmarks_from_image(pixels)
        return [numpy.asarray(points, float) for points in found or []]
