"""Unlearning on the server's public images: by compiled code where the network allows it, else by torch."""

import numpy as np
import torch
from numpy.typing import NDArray

from fedsec.defenses.gancrop.trigger import RecoveredTrigger, as_bytes
from fedsec.defenses.gancrop.unlearning import UnlearningOptions, steps_of, unlearn
from fedsec.inspectors.public import Arrays, PublicData
from fedsec.training.batches import values_of_bytes


def unlearned(
    public: PublicData,
    first: int,
    arrays: Arrays,
    triggers: list[RecoveredTrigger],
    options: UnlearningOptions,
    generator: torch.Generator,
) -> tuple[dict[str, NDArray[np.generic]], float]:
    """Return a model's arrays after triggers are unlearned, and the mean loss of the last epoch.

    This is :func:`~fedsec.defenses.gancrop.unlearning.unlearn` where the network cannot be compiled.

    Args:
        public: the network and the images.
        first: the first of them to learn from; the ones before are held out.
        arrays: of the model; not changed.
        triggers: what to unlearn.
        options: how.
        generator: CPU generator of every draw.
    """
    if public.chain is None:
        network, (pixels, classes) = public.load(arrays), public.pixels()
        loss = unlearn(network, pixels[first:], classes[first:], triggers, options, generator)
        return public.arrays_of(network), loss
    from fedsec.training.compiled_chain import CompiledChain  # here: it takes seconds to import

    # The same with the same draws, on images that are stamped beforehand, and so rounded to bytes.
    images, labels = public.images[first:], public.labels[first:]
    every = np.concatenate([images, *(as_bytes(images, trigger) for trigger in triggers)])
    repeated = np.tile(labels, 1 + len(triggers))
    pace = options.batch_size, options.learning_rate, options.momentum
    trained = CompiledChain(public.chain, arrays, every, repeated, values_of_bytes(public.normalise), *pace)
    total = 0.0
    for epoch in range(options.epochs):
        total = 0.0
        for rate, chosen, which in steps_of(epoch, len(labels), len(triggers), options, generator):
            trained.set_rate(rate)
            batch = chosen.clone()
            batch[: len(which)] += len(labels) * (1 + which)  # the copies with one trigger follow those with another
            total += trained.step(batch.numpy())
    weights = trained.weights()
    return {name: weights[name] for name in arrays}, total / len(labels)
