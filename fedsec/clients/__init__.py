"""The clients as Flower NumPyClients: decode, local work, encode."""

from fedsec.clients.all_to_one import AllToOneClient
from fedsec.clients.app import make_client_app
from fedsec.clients.backdoor import BackdoorClient
from fedsec.clients.benign import BenignClient, LocalTask
from fedsec.clients.evasive import EvasiveClient
from fedsec.clients.fedgan import FedGanClient, GanTask
from fedsec.clients.poisoned_gan import PoisonedGanClient
from fedsec.clients.reconstruction import Adversary, ReconstructionClient
from fedsec.clients.untargeted import UntargetedClient
from fedsec.clients.untargeted_backdoor import UntargetedBackdoorClient

__all__ = [
    "Adversary",
    "AllToOneClient",
    "BackdoorClient",
    "BenignClient",
    "EvasiveClient",
    "FedGanClient",
    "GanTask",
    "LocalTask",
    "PoisonedGanClient",
    "ReconstructionClient",
    "UntargetedBackdoorClient",
    "UntargetedClient",
    "make_client_app",
]
