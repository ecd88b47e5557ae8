"""The defenses as functions: one round's updates in, a verdict out. Nothing here knows Flower or Ray."""

from fedsec.defenses.updates import OptionError, RoundUpdates, TooFewClientsError, Verdict

__all__ = ["OptionError", "RoundUpdates", "TooFewClientsError", "Verdict"]
