"""A federated GAN from its configuration to its record, on every engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedsec import federation
from fedsec.engine.run import execute
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder
from fedsec.training import extractor
from tests.engine.conftest import Silent, config, record, run

CLIENTS = 4


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FEDSEC_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(extractor, "EXAMPLES", 1000)  # what the features are worth is no matter here
    return tmp_path / "state"


def gan(**changes: Any) -> RunConfig:
    small: dict[str, Any] = {
        "data__size": 16, "data__partition": "iid", "data__share": 0.1, "model__name": "dcgan", "fedgan__width": 4,
        "fedgan__critic_width": 4, "fedgan__latent": 8, "fedgan__images": 40, "federation__clients": CLIENTS,
        "federation__learning_rate": 2e-4, "federation__local_epochs": 1, "attack__kind": "stamp",
        "attack__clients": "1", "attack__trigger": "noise-patch", "attack__trigger_size": 2,
        "defense__strategy": "loss-forest", "defense__warmup_rounds": 0,
    }  # fmt: skip
    return config(**{**small, **changes})


def test_a_run_leaves_scores_losses_weights_and_pictures_behind() -> None:
    summary, folder, _ = run(gan(fedgan__score_every=2), "local")
    assert summary["final"].keys() == {"MA", "BA", "round", "IS", "FID", "KID", "features"}
    assert summary["final"]["MA"] is None
    lines = folder.rounds()
    assert [bool(line["generation"]) for line in lines] == [True, False, True, True]
    assert {client["role"] for client in lines[1]["clients"]} == {"honest", "malicious"}
    for line in lines[1:]:
        assert sum(client["weight"] for client in line["clients"]) == pytest.approx(1.0)
        assert all(client["loss"] > 0 for client in line["clients"])
    pictures = sorted(path.name for path in (folder.path / "generated").iterdir())
    assert pictures == ["000000.png", "000002.png", "000003.png"]
    with Image.open(folder.path / "generated" / "000003.png") as picture:
        assert picture.size == (8 * 17 - 1, 5 * 17 - 1)


def test_the_saturating_loss_reaches_the_clients_which_report_it() -> None:
    _, folder, _ = run(gan(fedgan__generator_loss="saturating"), "local")
    for line in folder.rounds()[1:]:
        assert all(client["loss"] < 0 for client in line["clients"])  # log(1 - D(G(z))) is never positive


@pytest.mark.parametrize("changes", [{}, {"fedgan__loss": "wgan-gp"}, {"defense__audit": "critic"}])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, _, _ = run(gan(**changes), "local")
    save, folder = federation.save_checkpoint, RunFolder.create(gan(**changes))

    def interrupted(path: Path, checkpoint: Any) -> None:
        if checkpoint.server_round == 2:
            raise KeyboardInterrupt
        save(path, checkpoint)

    monkeypatch.setattr(federation, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute(gan(**changes), folder, Silent(), engine="local")
    monkeypatch.setattr(federation, "save_checkpoint", save)
    resumed = execute(gan(**changes), folder, Silent(), engine="local")
    assert resumed["model_sha256"] == undisturbed["model_sha256"]
    assert [line["round"] for line in folder.rounds()] == [0, 1, 2, 3]


@pytest.mark.parametrize("damage", ["corrupt", "missing"])
def test_a_client_whose_state_is_lost_starts_afresh_and_the_record_says_so(
    damage: str, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, folder = federation.save_checkpoint, RunFolder.create(gan())

    def lost(path: Path, checkpoint: Any) -> None:
        save(path, checkpoint)
        if checkpoint.server_round == 1:
            [kept] = state.rglob("2/000001.safetensors")
            kept.unlink() if damage == "missing" else kept.write_bytes(b"\0" * 100)

    monkeypatch.setattr(federation, "save_checkpoint", lost)
    execute(gan(), folder, Silent(), engine="local")
    [note] = folder.rounds()[2]["notes"]
    assert note["client"] == 2
    assert ("was damaged" if damage == "corrupt" else "it kept nothing") in str(note["note"])
    assert not folder.rounds()[3]["notes"]


def test_what_a_liar_reports_is_an_honest_clients_loss_and_the_audit_does_not_read_it() -> None:
    told = {"attack__claim": "honest-looking", "defense__audit": "critic"}
    _, honest, _ = run(gan(attack__kind="none", attack__clients=""), "local")
    _, lying, _ = run(gan(attack__claim="honest-looking"), "local")
    _, audited, _ = run(gan(**told), "local")
    first = [[client["loss"] for client in folder.rounds()[1]["clients"]] for folder in (honest, lying)]
    assert first[0] == first[1]
    scores = [[client["score"] for client in folder.rounds()[2]["clients"]] for folder in (lying, audited)]
    assert scores[0] != scores[1]


@pytest.mark.usefixtures("crews")
def test_engine_cohort_gives_the_model_and_the_record_of_engine_local() -> None:
    local, ours, _ = run(gan(), "local")
    cohort, theirs, _ = run(gan(), "cohort")
    assert cohort["model_sha256"] == local["model_sha256"]
    assert record(theirs) == record(ours)


@pytest.mark.slow
def test_ray_gives_the_model_of_engine_local() -> None:
    local, _, _ = run(gan(), "local")
    ray, folder, _ = run(gan(), "ray")
    assert ray["model_sha256"] == local["model_sha256"]
    assert not any(line["dropped"] for line in folder.rounds())


def test_a_generator_may_be_style_based() -> None:
    small = {"fedgan__style": 8, "fedgan__mapping_layers": 2, "fedgan__channel_base": 64, "fedgan__channel_max": 8}
    summary, folder, _ = run(gan(model__name="stylegan2", federation__rounds=1, **small), "local")
    assert np.isfinite(summary["final"]["FID"])
    assert [client["client"] for client in folder.rounds()[1]["clients"]] == [0, 1, 2, 3]
