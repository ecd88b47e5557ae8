"""Inception's weights come from a file, whatever is in it; its features are torch-fidelity's.

The file here holds weights that were drawn, not trained: the code does not know the difference.
"""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity import FeatureExtractorInceptionV3

from fedsec.metrics.generation import ScoreError, generation_scores
from fedsec.models.drawing import drawn_from
from fedsec.training import inception
from fedsec.training.inception import InceptionExtractor, WeightsError, find_weights, inception_extractor

CPU = torch.device("cpu")


class Unpickled:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def network() -> FeatureExtractorInceptionV3:
    """Inception with drawn weights: torch-fidelity builds it from a file only."""
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with pytest.MonkeyPatch.context() as patch, drawn_from(0):
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda network, state: None)
        return FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=empty
        )


@pytest.fixture(scope="module")
def weights(network: FeatureExtractorInceptionV3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def extractor(weights: Path) -> InceptionExtractor:
    return InceptionExtractor(weights, CPU)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Look in an empty folder for torch-fidelity's download, and at no variable."""
    monkeypatch.delenv("FEDSEC_INCEPTION", raising=False)
    monkeypatch.setattr(inception, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub"


def pictures(count: int, channels: int) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, 256, (count, channels, 8, 8), np.uint8)


@pytest.mark.slow
def test_the_features_are_those_of_torch_fidelity(
    network: FeatureExtractorInceptionV3, extractor: InceptionExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "BATCH", 2)
    images = pictures(3, 3)
    features = extractor(images)
    activations, logits = network(torch.from_numpy(images))
    np.testing.assert_allclose(features.activations, activations.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features.logits, logits.numpy(), rtol=1e-4, atol=1e-5)
    assert features.activations.shape == (3, 2048)
    assert features.logits.shape == (3, 1008)


def test_a_grey_image_is_a_colour_image_with_three_equal_channels(
    extractor: InceptionExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def watched(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(batch)
        return batch.flatten(1).float(), batch.flatten(1).float()

    monkeypatch.setattr(extractor, "network", watched)
    monkeypatch.setattr(inception, "BATCH", 2)
    grey = pictures(3, 1)
    assert len(extractor(grey)) == 3
    assert [len(batch) for batch in seen] == [2, 1]
    assert np.array_equal(torch.cat(seen).numpy(), np.repeat(grey, 3, axis=1))
    assert seen[0].dtype == torch.uint8


@pytest.mark.slow
def test_its_features_have_the_scores_of_any_others(extractor: InceptionExtractor) -> None:
    scores = generation_scores(extractor(pictures(3, 1)), extractor(pictures(2, 3)), splits=3, subsets=2)
    assert (scores.images, scores.real_images, scores.subset_size) == (3, 2, 2)
    assert scores.features == extractor.name


def test_the_name_tells_which_weights(extractor: InceptionExtractor, weights: Path) -> None:
    assert extractor.name == f"inception-v3, {hashlib.sha256(weights.read_bytes()).hexdigest()[:8]}"


def test_nothing_is_downloaded_where_there_are_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket", None)
    assert find_weights() is None
    assert inception_extractor(CPU) is None


def test_the_variable_goes_before_the_download_of_torch_fidelity(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = nowhere / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    download.parent.mkdir(parents=True)
    download.touch()
    assert find_weights() == download
    (tmp_path / "mine.pth").touch()
    monkeypatch.setenv("FEDSEC_INCEPTION", str(tmp_path / "mine.pth"))
    assert find_weights() == tmp_path / "mine.pth"


def test_weights_that_are_named_and_found_are_used(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEC_INCEPTION", str(weights))
    found = inception_extractor(CPU)
    assert found is not None
    assert found.name.startswith("inception-v3, ")


def test_weights_that_are_named_and_missing_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEC_INCEPTION", str(tmp_path / "no.pth"))
    with pytest.raises(WeightsError, match=r"FEDSEC_INCEPTION: found '.*no.pth', and there is no such file; expected"):
        inception_extractor(CPU)
    with pytest.raises(WeightsError, match=r"no.pth: No such file or directory; expected torch-fidelity's file"):
        InceptionExtractor(tmp_path / "no.pth", CPU)


@pytest.mark.parametrize("content", ["cut", "noise", "empty", "tensor", "other network", "changed shape"])
def test_a_file_that_is_no_inception_is_one_error(
    content: str, network: FeatureExtractorInceptionV3, weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.pth"
    if content == "cut":
        path.write_bytes(weights.read_bytes()[:100_000])
    elif content in ("noise", "empty"):
        path.write_bytes(b"no weights at all" if content == "noise" else b"")
    else:
        state = {"fc.weight": torch.zeros(2, 2)}
        changed = dict(network.state_dict()) | state
        torch.save({"tensor": torch.zeros(3), "other network": state, "changed shape": changed}[content], path)
    with pytest.raises(
        WeightsError, match=r"bad.pth: cannot be used \(.{3,200}\); expected torch-fidelity's file"
    ) as e:
        InceptionExtractor(path, CPU)
    assert "\n" not in str(e.value)


def test_a_file_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path, trace = tmp_path / "bad.pth", tmp_path / "trace"
    torch.save({"fc.weight": Unpickled(trace)}, path)
    with pytest.raises(WeightsError, match="cannot be used"):
        InceptionExtractor(path, CPU)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 2, 8, 8), np.uint8), "1 or 3 channels; got 2"),
        (np.zeros((2, 3, 8, 8), np.float32), r"must be uint8 .* got float32"),
        (np.zeros((8, 8), np.uint8), r"got uint8 of shape \(8, 8\)"),
        (np.zeros((0, 3, 8, 8), np.uint8), "at least one"),
    ],
)
def test_images_that_inception_does_not_take_are_refused(
    extractor: InceptionExtractor, images: np.ndarray, message: str
) -> None:
    with pytest.raises(ScoreError, match=message):
        extractor(images)
