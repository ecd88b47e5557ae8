"""The model and the data of the project."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

LABELS = np.arange(10)
NUM_FEATURES = 64
TEST_IMAGES = 360


def get_model_params(model: LogisticRegression) -> list[np.ndarray]:
    return [model.coef_, model.intercept_]


def set_model_params(model: LogisticRegression, params: list[np.ndarray]) -> LogisticRegression:
    model.coef_, model.intercept_ = params
    return model


def create_model(penalty: float) -> LogisticRegression:
    """Return a model of zeros: scikit-learn makes its parameters with the first fit only, and the server needs some."""
    model = LogisticRegression(C=1.0 / penalty, max_iter=3, warm_start=True)
    model.classes_ = LABELS
    return set_model_params(model, [np.zeros((len(LABELS), NUM_FEATURES)), np.zeros(len(LABELS))])


def load_data(partition_id: int, num_partitions: int):
    """Return this partition's images and labels, four fifths for training and the rest for tests."""
    images, labels = load_digits(return_X_y=True)
    mine = slice(TEST_IMAGES + partition_id, None, num_partitions)
    x, y = images[mine] / 16.0, labels[mine]
    cut = int(0.8 * len(x))
    return x[:cut], y[:cut], x[cut:], y[cut:]


def load_centralized_dataset() -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    return images[:TEST_IMAGES] / 16.0, labels[:TEST_IMAGES]
