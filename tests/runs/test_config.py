"""The configuration: its defaults, its names, and one line for everything that is wrong with it."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from fedsec.models.classifiers import CLASSIFIERS
from fedsec.runs.checks import check, check_with_data
from fedsec.runs.config import RunConfig, described, flatten, known_keys, nested
from fedsec.runs.loading import ConfigError, load_run_file, parse, parse_assignment, parse_flat
from fedsec.runs.sections import GENERATORS, DefenseSection, FederationSection, ModelName, StrategyName
from fedsec.strategies import STRATEGIES
from fedsec.strategies.build import options_of

PROJECT = Path(__file__).parents[2]
COMPLETE: dict[str, Any] = {
    "data": {"dataset": "digits"},
    "attack": {"kind": "none"},
    "defense": {"strategy": "fedavg"},
}


def refusal(tables: dict[str, Any]) -> str:
    """Return the error that these tables give, put over a complete file."""
    merged = {section: COMPLETE.get(section, {}) | tables.get(section, {}) for section in {*COMPLETE, *tables}}
    with pytest.raises(ConfigError) as error:
        check(parse(merged, source="run.toml"), source="run.toml")
    return str(error.value)


def test_flower_s_defaults_are_the_same_as_ours() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    config = project["tool"]["flwr"]["app"]["config"]
    flat = {f"{section}.{key}": value for section, values in config.items() for key, value in values.items()}
    assert flat == flatten(RunConfig())


def test_names_in_the_configuration_are_those_of_the_tables() -> None:
    assert set(get_args(StrategyName)) == set(STRATEGIES)
    assert set(get_args(ModelName)) == {*CLASSIFIERS, *GENERATORS}


def test_every_option_of_a_strategy_is_a_key_and_every_key_an_option() -> None:
    options = {option for name in STRATEGIES for option in options_of(name)}
    assert options == set(described(DefenseSection)) - {"strategy", "batchnorm", "audit"}


def test_flat_and_nested_are_the_same_configuration() -> None:
    config = parse({"data": {"q": 0.9}, "defense": {"strategy": "flame", "clip": 0.5}})
    assert parse_flat(flatten(config)) == config
    assert parse(nested(flatten(config))) == config


def test_an_integer_will_do_for_a_number() -> None:
    assert parse({"federation": {"learning-rate": 1}}).federation.learning_rate == 1.0


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"defense": {"strategi": "flame"}}, "defense.strategi: unknown key; did you mean defense.strategy?"),
        ({"federation": {"batch_size": 3}}, "federation.batch_size: unknown key; did you mean federation.batch-size?"),
        ({"federation": {"q": 0.1}}, "federation.q: unknown key; did you mean data.q?"),
        ({"federation": {"colour": 1}}, "federation.colour: unknown key; federation has clients, rounds,"),
        ({"atack": {"kind": "none"}}, "atack: unknown key; did you mean attack"),
        ({"federation": {"clients": "ten"}}, "federation.clients: found 'ten'; expected an integer"),
        ({"federation": {"clients": True}}, "federation.clients: found True; expected an integer"),
        ({"federation": {"clients": 2.5}}, "federation.clients: found 2.5; expected an integer"),
        ({"federation": {"rounds": 0}}, "federation.rounds: found 0; expected greater than or equal to 1"),
        ({"federation": {"learning-rate": -1}}, "federation.learning-rate: found -1; expected greater than 0"),
        ({"federation": {"learning-rate": float("nan")}}, "federation.learning-rate: found nan; expected a finite"),
        ({"data": {"dataset": 3}}, "data.dataset: found 3; expected a text in quotes"),
        ({"data": {"partition": "skew"}}, "data.partition: found 'skew'; expected 'iid', 'label-skew'"),
        ({"attack": {"kind": "backdor"}}, "did you mean 'backdoor'?"),
        ({"attack": {"share": 0.6}}, "attack.share: found 0.6; expected less than or equal to 0.5"),
        ({"defense": {"clip": "x"}}, "defense.clip: found 'x'; expected a number or 'median'"),
        ({"run": {"name": "../up"}}, "run.name: found '../up'; expected 1 to 64 letters from a to z, digits, dots,"),
        ({"run": {"name": "a\nb"}}, r"run.name: found 'a\nb'; expected 1 to 64 letters"),
        ({"run": {"output": "\0"}}, r"run.output: found '\x00'; expected the path of a folder, without control"),
        ({"run": {"output": "~nobody-has-this-name/x"}}, "run.output: found '~nobody-has-this-name/x'; expected the"),
        ({"run": {"seed": 16**5000}}, "run.seed: found a number of thousands of digits; expected less than or equal"),
        (
            {"model": {"name": "l" * 5000}},
            "l... (5002 characters); expected 'lenet5', 'resnet18', 'resnet8', 'reconstruction', 'dcgan' or "
            "'stylegan2'",
        ),
        ({"data": {"a\nb": 1}}, r"'data.a\nb': unknown key; data has dataset,"),
        ({"data": {"": 1}}, "data.: unknown key; data has dataset,"),
        ({"attack": {"kind": "backdoor", "share": 0.33}}, "attack.share: found 0.33, which is 3.3 of 10 clients"),
        ({"attack": {"kind": "backdoor", "share": 1e-9}}, "such as 0 (0 of 10 clients) or 0.1 (1 of 10 clients)"),
        ({"federation": {"fraction": 0.01}}, "federation.fraction: found 0.01, which is 0.1 of 10 clients"),
        ({"federation": {"fraction": 0.25}}, "such as 0.2 (2 of 10 clients) or 0.3 (3 of 10 clients)"),
        ({"federation": {"clients": 3, "fraction": 0.34}}, "such as 0.3333333 (1 of 3 clients) or 0.6666667 (2 of 3"),
        (
            {"federation": {"gpus-per-client": 7.5}},
            "federation.gpus-per-client: found 7.5; expected less than or equal",
        ),
        ({"federation": {"gpus-per-client": 1e300}}, "federation.gpus-per-client: found 1e+300; expected less than or"),
        ({"attack": {"source": 6}}, "attack.target: found 6, which is the source"),
        ({"attack": {"start-round": 17}}, "attack.start-round: found 17; expected 1 to federation.rounds = 16"),
        ({"attack": {"start-round": 5, "end-round": 3}}, "attack.end-round: found 3; expected 0 (the last round) or"),
        ({"federation": {"min-replies": 11}}, "federation.min-replies: found 11; expected 1 to 10"),
        ({"defense": {"strategy": "krum"}}, "defense.num-malicious: missing; Krum must be told"),
        ({"defense": {"strategy": "krum", "num-malicious": 4}}, "defense.num-malicious: found 4; Krum needs n >= 2"),
        ({"defense": {"strategy": "trimmed-mean"}}, "defense.trim-ratio: missing; trimmed-mean needs it."),
        ({"defense": {"strategy": "trimmed-mean", "trim-ratio": 0.5}}, "trim_ratio must lie between 0 and 0.5"),
        ({"defense": {"strategy": "trimmed-mean", "trim-ratio": 0.05}}, "removes 0 of 10 clients"),
        ({"defense": {"clip": 0.5}}, "defense.clip: found 0.5; fedavg has no such option; it has: weighting."),
        ({"defense": {"strategy": "multi-krum", "num-malicious": 1, "num-selected": 11}}, "defense.num-selected"),
        ({"defense": {"strategy": "flame", "noise": -0.1}}, "defense.noise: found -0.1"),
        ({"defense": {"strategy": "flame"}, "federation": {"clients": 2}, "attack": {"share": 0.0}}, "at least 3"),
    ],
)
def test_a_mistake_is_one_line_with_key_found_and_allowed(tables: dict[str, Any], expected: str) -> None:
    text = refusal(tables)
    assert expected in text
    assert text.startswith("run.toml: ")
    assert "\n" not in text


def test_a_table_that_is_no_table_is_named() -> None:
    with pytest.raises(ConfigError, match=r"attack: found 5; expected a table, such as \[attack\]"):
        parse({"attack": 5})


def test_a_section_that_is_no_table_hides_what_is_missing_in_it() -> None:
    with pytest.raises(ConfigError) as error:
        parse({"data": 5}, required=["data.dataset"])
    assert error.value.problems == ["data: found 5; expected a table, such as [data]"]


def test_several_mistakes_are_several_lines() -> None:
    with pytest.raises(ConfigError) as error:
        parse({"data": {"q": "x"}, "federation": {"rounds": -1}})
    assert len(error.value.problems) == 2


def test_every_option_that_a_strategy_lacks_or_does_not_have_is_a_line() -> None:
    defense = {"strategy": "norm-clip-noise", "trim": "updates", "num-malicious": 3}
    with pytest.raises(ConfigError) as error:
        check(parse({"defense": defense}))
    assert [problem.partition(";")[0] for problem in error.value.problems] == [
        "defense.num-malicious: found 3",
        "defense.trim: found 'updates'",
        "defense.clip: missing",
        "defense.noise: missing",
    ]


@pytest.mark.parametrize("key", ["data.dataset", "attack.kind", "defense.strategy"])
def test_a_run_file_names_its_data_its_attack_and_its_defense(key: str, tmp_path: Path) -> None:
    section, _, name = key.partition(".")
    lines = [f"[{table}]\n{k} = {v!r}\n" for table, values in COMPLETE.items() for k, v in values.items()]
    kept = [line for line in lines if not (line.startswith(f"[{section}]") and f"\n{name} " in line)]
    (tmp_path / "run.toml").write_text("\n".join(kept))
    with pytest.raises(ConfigError, match=f"{key}: missing; expected"):
        load_run_file(tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[data\n", "not TOML"),
        (f"x = {'[' * 100_000}", "not TOML"),
        (f"x = {'9' * 5000}", "not TOML"),
        ("[axes]\n", "use 'fedsec reproduce"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_run_file_is_explained(content: str | None, expected: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "run.toml").write_text(content)
    with pytest.raises(ConfigError, match=expected):
        load_run_file(tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data.q=0.9", ("data.q", 0.9)),
        ("run.resume=true", ("run.resume", True)),
        ("defense.strategy=flame", ("defense.strategy", "flame")),
        ("defense.strategy='flame'", ("defense.strategy", "flame")),
        ("data.dataset=/a=b", ("data.dataset", "/a=b")),
        ("data.q=1\nx=2", ("data.q", "1\nx=2")),
    ],
)
def test_an_assignment_is_read_as_toml_or_as_text(text: str, expected: tuple[str, Any]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["data.q", "=3"])
def test_an_assignment_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected key=value"):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"attack": {"source": 7}}, "attack.source: found 7; expected a class of digits, 0 to 6"),
        ({"attack": {"target": 9}}, "attack.target: found 9"),
        ({"data": {"q": 0.1}}, r"data.q: found 0.1; expected 0.1429 \(evenly mixed\) to 1 for 7 groups"),
        ({"attack": {"trigger-size": 27}}, "attack.trigger-size: found 27; expected 1 to 26"),
        ({"federation": {"clients": 200}}, "federation.clients: found 200; expected at most 100"),
    ],
)
def test_values_are_checked_against_the_data_set(tables: dict[str, Any], expected: str) -> None:
    config = parse({"attack": {"share": 0.0}} | tables)
    with pytest.raises(ConfigError, match=expected):
        check_with_data(config, (1, 28, 28), 7, 100)


def test_a_model_refuses_images_that_it_cannot_take() -> None:
    with pytest.raises(ConfigError, match=r"model\.name: lenet5 takes square images of at least 12 x 12"):
        check_with_data(RunConfig(), (1, 8, 8), 10, 100)


def test_known_keys_are_what_flatten_gives() -> None:
    assert "data.q" in known_keys()
    assert all("." in key for key in known_keys())


def test_sections_are_ordinary_dataclasses_in_python() -> None:
    config = RunConfig(federation=FederationSection(local_epochs=1))
    assert replace(config, federation=replace(config.federation, batch_size=5)).federation.batch_size == 5
