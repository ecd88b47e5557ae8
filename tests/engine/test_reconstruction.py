"""The attack that rebuilds a class, from its configuration to its record, on every engine."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fedsec import federation
from fedsec.engine.run import execute
from fedsec.nodes import FederationError
from fedsec.report.page import write_report
from fedsec.runs.config import RunConfig
from fedsec.runs.record import RunFolder
from fedsec.training import extractor
from fedsec.victims import victim_problem
from tests.engine.conftest import Silent, config, record, run


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FEDSEC_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(extractor, "EXAMPLES", 1000)  # what the judge is worth is no matter here
    return tmp_path / "state"


def rebuilt(**changes: Any) -> RunConfig:
    """Return three users of digits, one of them the adversary, which begins in round 2 or 3."""
    small: dict[str, Any] = {
        "data__partition": "one-class", "data__held": "1 4", "data__share": 0.3, "model__name": "reconstruction",
        "federation__clients": 3, "federation__rounds": 4, "federation__local_epochs": 1, "federation__draw": 20,
        "federation__learning_rate": 0.1, "attack__kind": "reconstruction", "attack__share": 0.4,
        "attack__clients": "2", "attack__victim": 1, "attack__start_accuracy": 0.45, "attack__updates": 4,
        "attack__fakes": 40, "defense__strategy": "fedavg",
    }  # fmt: skip
    return config(**{**small, **changes})


def test_a_run_tells_when_the_attack_began_and_measures_what_it_rebuilds_from_then_on(tmp_path: Path) -> None:
    summary, folder, observer = run(rebuilt(), "local")
    lines = folder.rounds()
    began = summary["reconstruction"]["began"]
    assert began is not None
    assert lines[began - 1]["reconstruction"]["accuracy"] >= 0.45
    assert all(line["reconstruction"]["accuracy"] < 0.45 for line in lines[: began - 1])
    for line in lines:
        attacked = line["round"] >= began
        assert line["reconstruction"]["began"] is attacked
        assert ("rebuilt" in line["reconstruction"]) is attacked
        roles = [client["role"] for client in line["clients"]][2:]
        assert roles == ([] if line["round"] == 0 else ["malicious" if attacked else "dormant"])
        assert not line["dropped"]
        assert not line["notes"]
    assert [line["round"] for line in lines if "roc" in line["reconstruction"]] == sorted({0, began - 1, 4})
    assert lines[0]["reconstruction"]["real"]["recognised"] > 0
    assert summary["final"].keys() == {"MA", "BA", "round", "RECOGNISED", "DISTANCE", "SSIM"}
    assert summary["final"]["BA"] is None
    pictures = sorted(path.stem for path in (folder.path / "generated").iterdir())
    assert pictures == [f"{number:06}" for number in range(began, 5)]
    with Image.open(folder.path / "generated" / "000004.png") as picture:
        assert picture.size == (8 * 29 - 1, 8 * 29 - 1)
    assert not [text for text in observer.notices if "left out" in text or "never" in text]
    report = write_report([folder], tmp_path / "report")
    assert "rebuilt, distance" in report.sections["Runs"]
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert {f"report_{ending}.png" for ending in ("scores", "distance", "roc", "strip", "grid")} <= names


def test_an_attack_that_never_begins_is_said_and_the_run_ends(state: Path) -> None:
    summary, folder, observer = run(rebuilt(attack__start_accuracy=1.0, federation__rounds=2), "local")
    assert summary["reconstruction"]["began"] is None
    assert summary["final"]["RECOGNISED"] is None
    assert any("the attack never began: the global model reached an accuracy of" in text for text in observer.notices)
    assert not list(state.rglob("*.safetensors"))
    assert {client["role"] for line in folder.rounds() for client in line["clients"]} == {"honest", "dormant"}


@pytest.mark.parametrize("broken", [1, 3])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(broken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed, whole, _ = run(rebuilt(), "local")
    save, folder = federation.save_checkpoint, RunFolder.create(rebuilt())

    def interrupted(path: Path, checkpoint: Any) -> None:
        if checkpoint.server_round == broken:
            raise KeyboardInterrupt
        save(path, checkpoint)

    monkeypatch.setattr(federation, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute(rebuilt(), folder, Silent(), engine="local")
    monkeypatch.setattr(federation, "save_checkpoint", save)
    resumed = execute(rebuilt(), folder, Silent(), engine="local")
    assert resumed["model_sha256"] == undisturbed["model_sha256"]
    assert [line["reconstruction"] for line in folder.rounds()] == [line["reconstruction"] for line in whole.rounds()]


def test_adam_may_keep_its_moments_between_rounds(state: Path) -> None:
    kept = {"federation__optimiser": "adam", "federation__learning_rate": 0.005, "federation__momentum_buffer": "kept"}
    _, folder, _ = run(rebuilt(**kept, federation__rounds=2), "local")
    assert len(list((state / folder.name / "0").glob("*.safetensors"))) == 2


@pytest.mark.usefixtures("crews")
def test_engine_cohort_gives_the_model_and_the_record_of_engine_local() -> None:
    local, ours, _ = run(rebuilt(), "local")
    cohort, theirs, _ = run(rebuilt(), "cohort")
    assert cohort["model_sha256"] == local["model_sha256"]
    assert record(theirs) == record(ours)


def test_a_run_does_not_start_where_the_adversary_holds_the_victim_s_class() -> None:
    wrong = rebuilt(data__held="", attack__victim=2)
    with pytest.raises(FederationError, match=r"attack\.victim: found 2; class 2 is also held by the adversary"):
        run(wrong, "local")
    assert victim_problem(rebuilt(), {0: [0, 5], 2: [3, 0]}) == ""


@pytest.mark.slow
def test_the_attack_does_what_it_promises_its_images_come_to_look_like_the_victim_s() -> None:
    changes = {"data__held": "1", "federation__clients": 2, "attack__clients": "1", "attack__updates": 60}
    more = {"federation__draw": 48, "attack__fakes": 160, "federation__rounds": 18, "data__share": 1.0}
    _, folder, _ = run(rebuilt(**changes, **more, attack__start_accuracy=0.5), "local")
    first, *rest = (line["reconstruction"] for line in folder.rounds())
    late = [line["rebuilt"] for line in rest[-10:]]  # two networks that play swing: no single round is the measure
    assert min(of["distances"]["of_means"] for of in late) < 0.6 * first["untrained"]["distances"]["of_means"]
    assert max(of["ssim_nearest"] for of in late) > first["untrained"]["ssim_nearest"] + 0.3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray does not close its files itself
def test_ray_gives_the_model_of_engine_local() -> None:
    local, _, _ = run(rebuilt(), "local")
    ray, folder, _ = run(rebuilt(), "ray")
    assert ray["model_sha256"] == local["model_sha256"]
    assert not any(line["dropped"] for line in folder.rounds())
    gc.collect()  # what Ray left open, here and not in another test
