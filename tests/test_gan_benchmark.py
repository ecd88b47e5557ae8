"""The GAN's benchmark compares what compares, and writes what it found."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gan, gan_worth
from benchmarks.gan_textbook import Discriminator, Generator, TextbookGan
from fedsec.models import cgan
from fedsec.training.gan import GanSettings

TINY = GanSettings(batch_size=4, latent=3, width=4)


@pytest.mark.parametrize("kind", ["cgan", "cwgan"])
def test_the_textbooks_gan_trains_both_networks_and_draws(kind: str) -> None:
    images = torch.randint(0, 256, (9, 1, 8, 8), dtype=torch.uint8)
    peer = TextbookGan(images, torch.arange(9) % 2, 2, replace(TINY, kind=kind, critic_steps=2), 0)
    weights = [*peer.generator.named_parameters(), *peer.critic.named_parameters()]
    before = [weight.detach().clone() for _, weight in weights]
    peer.step()
    same = [name for (name, now), old in zip(weights, before, strict=True) if torch.equal(now, old)]
    assert same == (["score.bias"] if kind == "cwgan" else [])  # which a difference of scores has not
    drawn = peer.generate(torch.tensor([0, 1, 1]))
    assert (drawn.shape, drawn.dtype) == ((3, 1, 8, 8), torch.uint8)


def test_both_have_the_same_channels() -> None:
    theirs, ours = Generator(1, 28, 10, 64, 32), cgan.Generator(1, 28, 10, 64, 32)
    assert theirs.layers[4].weight.shape == ours.up1.weight.shape
    theirs, ours = Discriminator(1, 28, 10, 32), cgan.Discriminator(1, 28, 10, 32)
    assert theirs.layers[0].out_channels == ours.down1.out_channels
    assert theirs.score.weight.shape == ours.score.weight.shape


def test_a_client_has_all_of_one_class_and_few_of_the_others() -> None:
    images, labels, classes = gan_worth.skewed("digits", 7)
    counts = np.bincount(labels)
    assert (len(images), classes) == (counts.sum(), 10)
    assert counts[0] > 100
    assert counts[1:].tolist() == [7] * 9


def test_the_command_prints_and_writes_what_was_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gan, "with_malloc_settings", lambda: None)
    monkeypatch.setattr(gan, "LENGTHS", (1, 2))
    monkeypatch.setattr(gan, "TURN", {"cgan": 1, "cwgan": 1})
    monkeypatch.setattr(gan_worth, "PER_CLASS", 4)
    arguments = ["--few", "5", "--steps", "2", "--seeds", "1", "--repetitions", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gan", *arguments])
    gan.main()
    assert "| a step of cwgan, 3 x 32 x 32 | median, processor's time |" in capsys.readouterr().out
    page = (tmp_path / "gan.md").read_text()
    assert all(f"accuracy lost with {kind} <= spread of the other's seeds" in page for kind in ("cgan", "cwgan"))
    written = json.loads((tmp_path / "gan.json").read_text())
    assert set(written["steps"]["cgan"]) == {gan_worth.TEXTBOOK, gan_worth.EXACT, gan_worth.OURS}
    assert set(written["trainings"]) == {"1", "2"}
