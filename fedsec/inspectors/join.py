"""From a strategy's options to its inspector, with a network and public images of one's own."""

from fedsec.defenses.gancrop.detector import DetectorOptions
from fedsec.defenses.gancrop.recovery import RecoveryOptions
from fedsec.defenses.gancrop.unlearning import UnlearningOptions
from fedsec.defenses.gansweep import SweepOptions
from fedsec.inspectors.abnormal_clients import AbnormalClientsInspector
from fedsec.inspectors.gancrop import GancropInspector, GancropOptions
from fedsec.inspectors.gansweep import GansweepInspector
from fedsec.inspectors.public import PublicData
from fedsec.inspectors.shadows import ShadowMaker
from fedsec.inspectors.watch import WatchOptions
from fedsec.strategies import AbnormalClients, Gancrop, Gansweep
from fedsec.strategies.inspecting import InspectingStrategy, Inspector
from fedsec.training.classifier import TrainingSettings


def inspector_for(strategy: InspectingStrategy, public: PublicData, settings: TrainingSettings) -> Inspector:
    """Return the inspector of a strategy, with the strategy's options.

    Args:
        strategy: one of fedsec's that look into models.
        public: the server's own network and images.
        settings: how the clients train; shadow models are trained alike.

    Raises:
        TypeError: the strategy is another one.
    """
    if isinstance(strategy, Gancrop):
        options = GancropOptions(
            watch=WatchOptions(strategy.shadows, strategy.checks, DetectorOptions(false_alarms=strategy.false_alarms)),
            recovery=RecoveryOptions(steps=strategy.recovery_steps),
            unlearning=UnlearningOptions(epochs=strategy.unlearning_epochs),
            repair=strategy.repair,
        )
        return GancropInspector(public, settings, options)
    if isinstance(strategy, Gansweep):
        sweep = SweepOptions(
            steps=strategy.recovery_steps, epochs=strategy.unlearning_epochs, learning_rate=strategy.unlearning_rate
        )
        return GansweepInspector(public, sweep, models=strategy.models)
    if isinstance(strategy, AbnormalClients):
        return AbnormalClientsInspector(
            ShadowMaker(public, settings).make_clean,
            shadows=strategy.shadows,
            refresh=strategy.refresh,
            size=strategy.surrogate_size,
            credit=strategy.credit,
            threshold=strategy.threshold,
        )
    raise TypeError(f"{type(strategy).__name__} has no inspector in fedsec; set one of your own.")
