"""What can be read of a model: by hand, from the shadows alone, and the row named after GANcrop is what it reads."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import gancrop_detection
from benchmarks.gancrop_models import Models, Study
from benchmarks.gancrop_readers import (
    COMPONENTS,
    READERS,
    cell_energies,
    cells,
    components,
    dense_over_map,
    every_array,
    first_weights,
)
from fedsec.inspectors.shadows import ShadowMaker
from fedsec.inspectors.watch import Watch, WatchOptions
from fedsec.models.classifiers import build_classifier
from fedsec.strategies.layout import Layout
from fedsec.training.classifier import TrainingSettings
from fedsec.training.parameters import get_arrays
from tests.backdoored import public
from tests.inspectors.rounds import arrays_of, moved, round_of
from tests.made_up_models import made_up_study


@pytest.fixture
def study() -> Study:
    return made_up_study()


def changed(models: Models, row: int) -> Models:
    """Return models of which one has another update and another behaviour."""
    deltas, behaviour = models.deltas.copy(), models.behaviour.copy()
    deltas[row] = -1000.0 * deltas[row] + 5.0
    behaviour[row] += 100.0
    return replace(models, deltas=deltas, behaviour=behaviour)


@pytest.mark.parametrize("name", READERS)
def test_what_is_read_of_a_model_depends_on_no_other_that_is_tested(name: str, study: Study) -> None:
    reading = READERS[name](study.shadows, study.layout)
    assert reading is not None
    read, other = reading(study.tests), reading(changed(study.tests, 4))
    rest = np.arange(len(read)) != 4
    np.testing.assert_allclose(other[rest], read[rest], rtol=1e-5, atol=1e-5)
    assert not np.allclose(other[4], read[4])
    assert read.shape[0] == len(study.tests.deltas)
    assert read.dtype == np.float64


def test_the_score_of_a_model_by_components_depends_on_no_other_that_is_tested(study: Study) -> None:
    last = len(study.tests.deltas) - 1  # not among the attackers of its round, whose median all are measured from

    def scores(tests: Models) -> np.ndarray:
        reading = components(study.shadows, study.layout)
        judge = gancrop_detection.regression
        return gancrop_detection.judged(replace(study, tests=tests), reading, judge, 0.05)

    found, other = scores(study.tests), scores(changed(study.tests, last))
    np.testing.assert_allclose(other[:last], found[:last], rtol=1e-5, atol=1e-5)
    assert other[last] != found[last]


def test_components_keep_the_distances_between_a_few_shadows(study: Study) -> None:
    read = components(study.shadows, study.layout)(study.shadows)
    assert read.shape[1] == min(COMPONENTS, len(read))
    rows = study.shadows.deltas.astype(np.float64)
    found, expected = (np.linalg.norm(values[1:] - values[0], axis=1) for values in (read, rows))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_shadows_that_are_not_learned_from_have_no_part_in_the_components(study: Study) -> None:
    usable = study.shadows.usable.copy()
    usable[1] = False
    some = replace(study.shadows, usable=usable)
    read, other = (components(shadows, study.layout)(study.tests) for shadows in (some, changed(some, 1)))
    np.testing.assert_array_equal(read, other)


def test_the_energy_at_a_cell_is_the_sum_of_the_squares_of_its_weights() -> None:
    one, other = np.zeros((2, 2, 3), np.float32), np.zeros((2, 2, 3), np.float32)  # outputs, channels, cells
    one[0, 0, 1], one[1, 1, 1], one[1, 0, 2] = 3.0, -4.0, 2.0
    other[:] = [0.0, 1.0, 2.0]
    found = cell_energies(np.stack([one.ravel(), other.ravel()]), (2, 2, 3))
    assert found.tolist() == [[0.0, 25.0, 4.0], [0.0, 4.0, 16.0]]


def test_the_cells_of_lenet_are_those_of_its_last_map(study: Study) -> None:
    arrays = {name: np.zeros_like(array) for name, array in study.layout.sent.items()}
    arrays["fc1.weight"].reshape(120, 16, 5, 5)[7, 3, 1, 2] = 2.0
    arrays["fc2.weight"][:] = arrays["conv2.weight"][:] = 9.0
    sent = {name: np.zeros_like(array) for name, array in arrays.items()}
    tested = replace(study.tests, deltas=Layout(sent).change(arrays)[None])
    reading = cells(study.shadows, study.layout)
    assert reading is not None
    expected = np.zeros((5, 5))
    expected[1, 2] = 4.0
    np.testing.assert_array_equal(reading(tested).reshape(5, 5), expected)


@pytest.mark.parametrize(
    ("name", "size", "shape"), [("lenet5", 20, (120, 16, 9)), ("reconstruction", 28, (200, 64, 36))]
)
def test_other_maps_have_other_cells(name: str, size: int, shape: tuple[int, int, int]) -> None:
    found = dense_over_map(Layout(get_arrays(build_classifier(name, 1, size, 10, seed=0))))
    assert found is not None
    assert found[1] == shape


def test_a_network_that_averages_its_map_has_no_cells(study: Study) -> None:
    assert cells(study.shadows, Layout(get_arrays(build_classifier("resnet8", 3, 32, 10, seed=0)))) is None


def test_the_tables_say_what_the_network_lacks(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    readers = {"every array": every_array, "cells": lambda shadows, layout: None}
    monkeypatch.setattr(gancrop_detection, "READERS", readers)
    *rows, last = gancrop_detection.tables(study, 0.05)
    assert last == "Left out, for the network has no such thing: cells."
    assert not any("cells" in row for row in rows)


def test_the_weights_of_the_first_layer_are_read_as_they_are(study: Study) -> None:
    read = first_weights(study.shadows, study.layout)(study.tests)
    np.testing.assert_array_equal(read, study.tests.deltas[:, study.layout.row["conv1.weight"]])


def test_the_row_that_bears_the_name_is_what_the_detector_reads(study: Study) -> None:
    named = [reader for name, reader in READERS.items() if "(GANcrop)" in name]
    (reading,) = [reader(study.shadows, study.layout) for reader in named]
    assert reading is not None
    seen = round_of([moved(arrays_of(False), seed) for seed in range(3)])
    watch = Watch(ShadowMaker(public(), TrainingSettings(1, 16, 0.1)), WatchOptions())
    models = replace(study.tests, deltas=seen.updates.deltas)
    np.testing.assert_array_equal(reading(models), watch._of_clients(seen))
