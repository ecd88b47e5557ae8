"""The defenses as Flower strategies: ``from fedsec.strategies import Flame`` in any Flower project."""

from fedsec.strategies.abnormal_clients import AbnormalClients
from fedsec.strategies.fedavg import RobustFedAvg
from fedsec.strategies.flame import Flame
from fedsec.strategies.gancrop import Gancrop
from fedsec.strategies.gansweep import Gansweep
from fedsec.strategies.inspecting import InspectingStrategy
from fedsec.strategies.krum import Krum, MultiKrum
from fedsec.strategies.legacy import LegacyStrategy
from fedsec.strategies.loss_forest import LossForest
from fedsec.strategies.median import Median
from fedsec.strategies.norm_clip_noise import NormClipNoise
from fedsec.strategies.outcome import RoundOutcome
from fedsec.strategies.robust import RobustStrategy
from fedsec.strategies.trimmed_mean import TrimmedMean

STRATEGIES: dict[str, type[RobustStrategy]] = {
    "fedavg": RobustFedAvg,
    "krum": Krum,
    "multi-krum": MultiKrum,
    "trimmed-mean": TrimmedMean,
    "median": Median,
    "norm-clip-noise": NormClipNoise,
    "flame": Flame,
    "loss-forest": LossForest,
    "gancrop": Gancrop,
    "gansweep": Gansweep,
    "abnormal-clients": AbnormalClients,
}
"""Every strategy by the name that configurations use. Its constructor's own keywords are its options."""

__all__ = [
    "STRATEGIES",
    "AbnormalClients",
    "Flame",
    "Gancrop",
    "Gansweep",
    "InspectingStrategy",
    "Krum",
    "LegacyStrategy",
    "LossForest",
    "Median",
    "MultiKrum",
    "NormClipNoise",
    "RobustFedAvg",
    "RobustStrategy",
    "RoundOutcome",
    "TrimmedMean",
]
