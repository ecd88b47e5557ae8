"""The section of the configuration that says what the malicious clients do."""

from typing import Literal

from pydantic.dataclasses import dataclass as validated

from fedsec.attacks.triggers import Corner, TriggerKind
from fedsec.runs.values import SECTION, Count, Float, Int, PartitionList, Share, about

AttackKind = Literal["none", "backdoor", "untargeted", "untargeted-backdoor", "stamp", "reconstruction"]
Sources = Literal["one", "all"]
BackdoorLabels = Literal["pairs", "any"]
Evasion = Literal["none", "penalty"]
Claim = Literal["true", "honest-looking"]


@validated(frozen=True, config=SECTION)
class AttackSection:
    """What the malicious clients do. Source, target and trigger are measured even when nobody attacks."""

    kind: AttackKind = about(
        "none, backdoor (trigger), untargeted (random labels), untargeted-backdoor (trigger, random labels), "
        "stamp (the trigger on every image, for a federated GAN), reconstruction (of a client's class, by a GAN)",
        "backdoor",
    )
    share: Float = about("share of the clients that are malicious", 0.4, ge=0.0, le=0.5)
    clients: PartitionList = about('partitions of the malicious clients, such as "1 3"; "" draws a share', "")
    source: Int = about("class whose triggered images are to be misclassified", 0, ge=0, le=1_000_000)
    target: Int = about("class that they are to be taken for", 6, ge=0, le=1_000_000)
    sources: Sources = about(
        "one (attack.source), or all: every class but the target is stamped, and BA is of all of them", "one"
    )
    trigger: TriggerKind = about(
        "trojan (a plus sign), patch (white), noise-patch (random colours), blend (random colours over the whole "
        "image), distributed (a patch in quarters: each attacker stamps one, BA is of the whole)",
        "patch",
    )
    trigger_size: Int = about("side of the trigger in pixels", 5, ge=1, le=1_000_000)
    trigger_corner: Corner = about("where the trigger lies, one pixel from the edges, or centre", "bottom-right")
    trigger_opacity: Share | None = about("how far it covers what is below; 0.2 for blend, else 1, if not set", None)
    labels: BackdoorLabels = about(
        "untargeted-backdoor: pairs (each malicious client has a source and a target drawn for it), or any (each copy "
        "has a random wrong label)",
        "pairs",
    )
    label_share: Share = about(
        "untargeted, untargeted-backdoor with any labels, and backdoor of all sources: share of a client's examples, "
        "of the last those of other classes than the target, that are poisoned",
        1.0,
    )
    evasion: Evasion = about(
        "of a backdoor: none, or penalty: the attacker holds its model near an honest one that it trains as well, and "
        "its update to that one's length",
        "none",
    )
    evasion_weight: Float = about("penalty: weight of the squared distance to the honest model", 0.1, gt=0.0, le=1e6)
    claim: Claim = about("stamp: the loss that a malicious client reports: true, or an honest-looking one", "true")
    victim: Int = about("reconstruction: class that is rebuilt", 1, ge=0, le=1_000_000)
    start_accuracy: Share = about("reconstruction: accuracy of the global model, 0 to 1, at which it begins", 0.9)
    updates: Count = about("reconstruction: updates of the generator in a round", 500)
    generator_rate: Float = about("reconstruction: step size of the generator's Adam", 0.001, gt=0.0, le=1.0)
    fakes: Count = about("reconstruction: generated images on which its own model is trained in a round", 5000)
    total_variation: Float = about("reconstruction: weight of the images' total variation", 0.0, ge=0.0, le=1e6)
    jitter: Int = about("reconstruction: pixels by which images are shifted at most", 0, ge=0, le=1_000)
    start_round: Count = about("first round of the attack", 1)
    end_round: Int = about("last round of the attack; 0 is the last of all", 0, ge=0, le=1_000_000)
