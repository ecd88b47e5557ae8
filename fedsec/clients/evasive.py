"""The client that plants a backdoor and keeps its update within the spread of honest ones."""

from flwr.common import NDArrays, Scalar

from fedsec.attacks.evasion import no_longer_than
from fedsec.clients.benign import BenignClient, Fitted, round_of
from fedsec.training.batches import on_device
from fedsec.training.classifier import new_optimiser, set_momentum, train_classifier
from fedsec.training.parameters import set_arrays
from fedsec.training.proximal import hold_near
from fedsec.training.threads import one_thread


class EvasiveClient(BenignClient):
    """An attacker that knows the defense: it trains twice from what it was sent, once honestly.

    The honest model is what the poisoned one is held near (:func:`hold_near`), and what bounds the length of its update
    (:func:`no_longer_than`). It reports number and loss of its honest training, and keeps the momentum of that where
    clients keep theirs: all but the update is what an honest client would say.

    Where its attacker adds no copies, in a round without attack or for want of images, it is honest.

    Args:
        attacker: the client that plants the backdoor.
        weight: of the penalty.
    """

    def __init__(self, attacker: BenignClient, weight: float) -> None:
        super().__init__(attacker.task)
        self.attacker = attacker
        self.weight = weight

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> Fitted:
        """Return the poisoned model near the honest one, and what the honest one's training has to say."""
        honest, examples, told = super().fit(parameters, config)
        member = self.attacker.member(parameters, round_of(config))
        if len(member.labels) == len(self.task.labels):
            return honest, examples, told
        task, model = self.task, self.task.model
        set_arrays(model, honest)
        anchor = [parameter.detach().clone() for parameter in model.parameters()]
        set_arrays(model, parameters)
        optimiser, state = new_optimiser(model, task.settings), self._state(config)
        if state is not None:
            set_momentum(model, optimiser, state.before(round_of(config))[0])
        hold_near(optimiser, model, anchor, self.weight)
        with one_thread():
            on = on_device(member.images, member.labels, task.device)
            train_classifier(model, *on, task.normalise, task.settings, member.generator, optimiser, member.most)
        trained = {name for name, _ in model.named_parameters()}
        counted = [name in trained for name in model.state_dict()]
        return no_longer_than(parameters, self.get_parameters({}), honest, counted), examples, told
