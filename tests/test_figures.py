"""What a figure shows is what the clients hold."""

from pathlib import Path

import numpy as np

from fedsec.figures import client_samples
from fedsec.holdings import holding
from fedsec.runs.figure import Figure, load_figure

SAMPLES = 'title = "Samples"\nfigure = "samples"\n[show]\nimages = 20\n[data]\ndataset = "digits"\nq = 0.8\n'


def figure(tmp_path: Path, text: str, **overrides: object) -> Figure:
    file = tmp_path / "figure.toml"
    file.write_text(text)
    return load_figure(file, {key.replace("__", ".").replace("_", "-"): value for key, value in overrides.items()})


def test_samples_are_a_client_s_own_images_in_the_proportions_of_its_classes(cache: Path, tmp_path: Path) -> None:
    of = figure(tmp_path, SAMPLES)
    samples = client_samples(of)
    assert [one.client for one in samples] == list(range(10))
    for one in samples:
        held = holding(of.config, one.client)
        own = {image.tobytes(): label for image, label in zip(held.images, held.labels, strict=True)}
        assert [own[image.tobytes()] for image in one.images] == one.labels.tolist()
        assert np.all(np.diff(one.labels) >= 0)
        assert one.class_counts == held.class_counts
        shown, share = np.bincount(one.labels, minlength=10), 20 / sum(one.class_counts)
        assert np.all(np.abs(shown - np.array(one.class_counts) * share) <= 1)


def test_a_client_with_fewer_images_shows_all_of_them(cache: Path, tmp_path: Path) -> None:
    shown = client_samples(figure(tmp_path, SAMPLES, data__share=0.02, show__clients=[3]))
    [one] = shown
    assert len(one.images) == sum(one.class_counts) < 20
