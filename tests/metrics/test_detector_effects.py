"""Effects of detectors, against a count by hand and against chance."""

import numpy as np

from jaxinterp.metrics.detector_effects import detector_effects


def test_planted_detectors_are_found_and_their_effects_averaged() -> None:
    iou = np.full((6, 4), 0.01)
    iou[0, 2] = iou[1, 2] = 0.3  # of class 0
    iou[2, 3] = 0.2  # of class 1
    iou[3, 1] = 0.5  # of a concept that shows no class
    effects = np.zeros((6, 3))
    effects[0] = [0.5, 0.1, 0.0]
    effects[1] = [0.3, 0.0, 0.4]
    effects[2] = [0.0, 0.2, 0.1]
    effects[3] = [0.9, 0.9, 0.9]
    found = detector_effects({"a": iou}, {"a": effects}, [2, 3, 0])
    assert found is not None
    assert found.detectors == 3
    np.testing.assert_allclose(found.own, (0.5 + 0.3 + 0.2) / 3)
    np.testing.assert_allclose(found.other, (0.05 + 0.2 + 0.05) / 3)
    np.testing.assert_allclose(found.excess, found.own - found.other)
    np.testing.assert_allclose(found.first, 2 / 3)
    rest = [0.1, 0.0, 0.0, 0.4, 0.0, 0.1, 0.9, 0.9, 0.9] + [0] * 6
    np.testing.assert_allclose(found.others_on_class, np.mean(rest))
    assert found.own_interval[0] <= found.own <= found.own_interval[1]


def test_classes_without_a_concept_and_units_below_the_cutoff_do_not_count() -> None:
    iou = np.array([[0.5, 0.0], [0.03, 0.0]])
    effects = np.ones((2, 3))
    assert detector_effects({"a": iou}, {"a": effects}, [0, -1, -1]) is None
    assert detector_effects({"a": iou[1:]}, {"a": effects[1:]}, [0, 1, -1]) is None
    found = detector_effects({"a": iou}, {"a": effects}, [0, 1, -1])
    assert found is not None
    assert found.detectors == 1


def test_effects_that_have_nothing_to_do_with_the_detectors_show_none() -> None:
    random = np.random.default_rng(0)
    iou = random.uniform(0.05, 1, (4000, 5))
    found = detector_effects({"a": iou}, {"a": random.normal(size=(4000, 5))}, range(5))
    assert found is not None
    assert found.excess_interval[0] < 0 < found.excess_interval[1]
    assert abs(found.first - found.chance) < 0.03


def test_a_concept_of_two_classes_belongs_to_both() -> None:
    effects = np.array([[0.4, 0.4, 0.0], [0.0, 0.0, 0.3]])
    found = detector_effects({"l": np.eye(2) * 0.5}, {"l": effects}, [0, 0, 1])
    assert found is not None
    np.testing.assert_allclose((found.own, found.other, found.first), (0.35, 0.0, 1.0))
    np.testing.assert_allclose(found.chance, (2 / 3 + 1 / 3) / 2)
