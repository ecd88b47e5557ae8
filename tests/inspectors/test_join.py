"""A strategy's options reach its inspector, each of them."""

from typing import Any

import pytest

from fedsec.inspectors.abnormal_clients import AbnormalClientsInspector
from fedsec.inspectors.gancrop import GancropInspector
from fedsec.inspectors.gansweep import GansweepInspector
from fedsec.inspectors.join import inspector_for
from fedsec.strategies import AbnormalClients, Gancrop, Gansweep, InspectingStrategy
from fedsec.strategies.build import options_of
from fedsec.training.classifier import TrainingSettings
from tests.backdoored import public

SETTINGS = TrainingSettings(epochs=1, batch_size=16, learning_rate=0.05)
GANCROP: dict[str, Any] = {
    "shadows": 31, "checks": 7, "repair": "each", "false_alarms": 0.07, "recovery_steps": 13, "unlearning_epochs": 5
}  # fmt: skip
GANSWEEP: dict[str, Any] = {"models": "each", "recovery_steps": 13, "unlearning_epochs": 5, "unlearning_rate": 0.2}
ABNORMAL: dict[str, Any] = {"shadows": 5, "refresh": 3, "surrogate_size": 9, "credit": 2.0, "threshold": "none"}


def test_gancrop_s_options_reach_it() -> None:
    assert GANCROP.keys() == options_of("gancrop").keys()
    inspector = inspector_for(Gancrop(**GANCROP), public(), SETTINGS)
    assert isinstance(inspector, GancropInspector)
    options = inspector.options
    assert (options.watch.shadows, options.watch.checks, options.watch.detector.false_alarms) == (31, 7, 0.07)
    assert (options.repair, options.recovery.steps, options.unlearning.epochs) == ("each", 13, 5)
    assert inspector.watch.maker.settings is SETTINGS


def test_gansweep_s_options_reach_it() -> None:
    assert GANSWEEP.keys() == options_of("gansweep").keys()
    inspector = inspector_for(Gansweep(**GANSWEEP), public(), SETTINGS)
    assert isinstance(inspector, GansweepInspector)
    options = inspector.options
    assert (inspector.models, options.steps, options.epochs, options.learning_rate) == ("each", 13, 5, 0.2)


def test_abnormal_clients_options_reach_it() -> None:
    assert ABNORMAL.keys() == options_of("abnormal-clients").keys()
    inspector = inspector_for(AbnormalClients(**ABNORMAL), public(), SETTINGS)
    assert isinstance(inspector, AbnormalClientsInspector)
    assert (inspector.shadows, inspector.refresh, inspector.size) == (5, 3, 9)
    assert (inspector.credit, inspector.threshold) == (2.0, "none")


def test_a_strategy_of_one_s_own_needs_an_inspector_of_one_s_own() -> None:
    class Mine(InspectingStrategy):
        pass

    with pytest.raises(TypeError, match="Mine has no inspector in fedsec; set one of your own"):
        inspector_for(Mine(), public(), SETTINGS)
