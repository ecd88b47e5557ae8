"""Generated images scored by every extractor that there is."""

from collections.abc import Sequence

import torch

from fedsec.data.datasets import ImageDataset
from fedsec.metrics.generation import GenerationScores, generation_scores
from fedsec.training.extraction import Extractor, Images
from fedsec.training.extractor import classifier_extractor
from fedsec.training.inception import inception_extractor


def extractors_of(
    train: ImageDataset, test: ImageDataset | None = None, device: torch.device | None = None
) -> list[Extractor]:
    """Return the extractors for a data set: its own classifier, and Inception where its weights are on disk.

    Args:
        train: the training split.
        test: the test split, on which a new classifier is measured.
        device: where to compute; the CPU by default.

    Raises:
        DataError: the file of the classifier is damaged.
        ScoreError: the classifier did not learn.
        WeightsError: Inception's file is named and missing, or cannot be used.
    """
    device = device or torch.device("cpu")
    # Inception first: what is wrong with its file is told before anything is trained.
    inception = inception_extractor(device)
    own = classifier_extractor(train, test, device)
    return [own] if inception is None else [own, inception]


def scores_of(generated: Images, real: Images, extractors: Sequence[Extractor]) -> list[GenerationScores]:
    """Return the scores of ``generated`` images (N, C, H, W) beside ``real`` ones (M, C, H, W), by each extractor.

    Raises:
        ScoreError: there are too few images, or they do not fit an extractor.
    """
    return [generation_scores(extract(generated), extract(real)) for extract in extractors]
