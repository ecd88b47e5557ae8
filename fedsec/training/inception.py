"""Features by Inception v3, as torch-fidelity computes them.

Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, CVPR 2016.  arXiv:1512.00567
"""

import hashlib
import io
import os
from pathlib import Path

import torch
from torch.hub import get_dir
from torch_fidelity import FeatureExtractorInceptionV3
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from fedsec.metrics.generation import Features, ScoreError
from fedsec.training.extraction import Images, check_images, extract

VARIABLE = "FEDSEC_INCEPTION"
FILE = str(URL_INCEPTION_V3).rpartition("/")[2]
BATCH = 50
LAYERS = [FeatureExtractorInceptionV3.get_default_feature_layer_for_metric(metric) for metric in ("fid", "isc")]


class WeightsError(ValueError):
    """The file with Inception's weights cannot be used; the message says why and what would do."""


def find_weights() -> Path | None:
    """Return the file with the weights: ``$FEDSEC_INCEPTION``, else where torch-fidelity keeps its download.

    Nothing is downloaded. ``None``: there is none.

    Raises:
        WeightsError: the variable names no file.
    """
    if named := os.environ.get(VARIABLE):
        path = Path(named).expanduser()
        if not path.is_file():
            raise WeightsError(f"{VARIABLE}: found {named!r}, and there is no such file; expected {_expected()}")
        return path
    path = Path(get_dir()) / "checkpoints" / FILE
    return path if path.is_file() else None


class InceptionExtractor:
    """Inception v3 with weights from a file. Grey images are repeated to three channels.

    Args:
        path: the file, in the layout of torch-fidelity's own.
        device: where to compute.

    Attributes:
        name: ``"inception-v3, "`` and the first eight digits of the file's SHA-256: other weights, other scores.

    Raises:
        WeightsError: the file is missing, damaged, or of another network.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path}: {error.strerror}; expected {_expected()}") from error
        self.device = device
        self.network = _network(path, content).to(device)
        self.name = f"inception-v3, {hashlib.sha256(content).hexdigest()[:8]}"

    def __call__(self, images: Images) -> Features:
        """Return activations (N, 2048) and logits (N, 1008) float32 of ``images`` (N, 1 or 3, H, W) uint8.

        Raises:
            ScoreError: the images are of another dtype or shape.
        """
        check_images(images)
        if images.shape[1] not in (1, 3):
            raise ScoreError(f"Inception takes grey or colour images, 1 or 3 channels; got {images.shape[1]}")
        return extract(self._compute, images, BATCH, self.device, self.name)

    def _compute(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        activations, logits = self.network(batch.expand(-1, 3, -1, -1))
        return activations, logits


def inception_extractor(device: torch.device) -> InceptionExtractor | None:
    """Return the extractor with the weights on disk; ``None`` where there are none.

    Raises:
        WeightsError: there is a file, and it cannot be used.
    """
    path = find_weights()
    return None if path is None else InceptionExtractor(path, device)


def _network(path: Path, content: bytes) -> FeatureExtractorInceptionV3:
    # torch-fidelity unpickles whatever is in the file. The same bytes go through torch's reader of tensors first, which
    # refuses all else; whatever that raises at a file that is none, the file cannot be used.
    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return FeatureExtractorInceptionV3(
            "inception-v3-compat", LAYERS, feature_extractor_weights_path=io.BytesIO(content)
        )
    except Exception as error:
        reason = (str(error) or type(error).__name__).split("\n")[0][:200]
        raise WeightsError(f"{path}: cannot be used ({reason}); expected {_expected()}") from error


def _expected() -> str:
    return f"torch-fidelity's file {FILE}"
