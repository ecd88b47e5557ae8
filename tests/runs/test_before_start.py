"""What this machine cannot do is one line with its key, before there is a folder of a run."""

from pathlib import Path

import pytest

from fedsec.runs.config import RunConfig
from fedsec.runs.loading import ConfigError
from fedsec.runs.record import RunFolder
from fedsec.runs.sections import RunSection
from tests.command_line import fedsec


def refusal(*settings: str) -> str:
    """Return the one line that a run with these settings ends with."""
    done = fedsec("run", "--engine", "local", *(part for setting in settings for part in ("--set", setting)))
    assert done.code == 2, done.err
    assert done.out == ""
    assert done.err.startswith("fedsec: ")
    assert done.err.count("\n") == 1
    return done.err.removeprefix("fedsec: ").rstrip("\n")


def test_a_gpu_that_is_not_there(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = refusal("federation.device=cuda")
    assert line == "federation.device: found 'cuda', and PyTorch finds no GPU here; expected 'auto' or 'cpu'"
    assert not runs.exists()


def test_memory_for_comparing_every_two_of_very_many_clients(runs: Path) -> None:
    line = refusal("federation.clients=1000000", "defense.strategy=flame", "attack.share=0.0")
    assert line.startswith("federation.clients: found 1000000; the strategy compares every two clients")
    assert not runs.exists()


@pytest.mark.parametrize("noise", ["1e300", "1e40", "1e30"])
def test_noise_that_leaves_no_model(noise: str, runs: Path) -> None:
    line = refusal("defense.strategy=flame", "defense.noise-scale=absolute", f"defense.noise={noise}")
    assert line.startswith(f"defense.noise: found {float(noise)!r}; one round would move eight weights")
    assert not runs.exists()


def test_an_output_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = refusal(f"run.output={tmp_path}/file")
    assert line.startswith(f"run.output: found '{tmp_path}/file', which cannot be written to")
    assert "(Not a directory); expected a folder that can" in line


def test_an_output_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*arguments: object, **keywords: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(ConfigError, match=r"^run\.output: found '/there', .* \(Permission denied\); expected a folder"):
        RunFolder.create(RunConfig(run=RunSection(output="/there")))


def test_an_output_that_the_environment_gives_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDSEC_RUNS", str(tmp_path / "file"))
    assert refusal().startswith(f"run.output: not given, found FEDSEC_RUNS = '{tmp_path}/file', which cannot")
    monkeypatch.setenv("FEDSEC_RUNS", "~nobody-has-this-name")
    assert refusal().startswith("run.output: not given, found FEDSEC_RUNS = '~nobody-has-this-name', which cannot")


def test_an_output_that_no_path_can_be(runs: Path) -> None:
    assert refusal('run.output="\\u0000"').startswith(r"--set: run.output: found '\x00'; expected the path of a folder")
    assert refusal("run.output=" + "x" * 5000).endswith("(File name too long); expected a folder that can")
    assert not runs.exists()


def test_a_disk_without_room_for_the_configuration_leaves_no_folder(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, write: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedsec.runs.record.write_atomically", full)
    assert "(No space left on device); expected a folder that can" in refusal()
    assert list(runs.glob("*/*")) == []
