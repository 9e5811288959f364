"""The phantom must not leak its answer: what sees no cord must not find compression, and the picture must show it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import zoom
from scipy.stats import skew
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from scripts.phantom.patients import Settings
from scripts.phantom.pictures import render, render_masks
from scripts.phantom.sampling import sample_patient

PATIENTS, MATRIX, CROP = 30, 112, 0.45
LEAK = 0.85


class Slices:
    """Central crops of a cohort, scaled per slice to 0...1 as the network sees them, and what is true of them."""

    def __init__(self) -> None:
        crops, labels, levels, groups, changes = [], [], [], [], []
        for index in range(PATIENTS):
            patient, truth = sample_patient(Settings(seed=21, matrix=MATRIX), index)
            volume, twin = render(patient, "tse", with_twin=True, sub_slices=1)
            masks = render_masks(patient, MATRIX)
            low = round(MATRIX * (1 - CROP) / 2)
            part = slice(low, MATRIX - low)
            for row, image, free, mask in zip(truth, volume, twin, masks, strict=True):
                crop = image[part, part]
                floor, ceiling = np.percentile(crop, (0.5, 99.5))
                crops.append(np.clip((crop - floor) / (ceiling - floor), 0, 1))
                labels.append(row.label)
                levels.append(row.level)
                groups.append(index)
                changes.append(np.abs(image - free)[mask > 0].mean())
        self.x, self.y = np.array(crops), np.array(labels)
        self.level, self.group, self.change = np.array(levels)[:, None], np.array(groups), np.array(changes)

    def learned(self, model, features) -> float:
        """AUC on patients that the model has not seen."""
        folds = GroupKFold(6)
        scores = cross_val_predict(model, features, self.y, groups=self.group, cv=folds, method="predict_proba")
        return float(roc_auc_score(self.y, scores[:, 1]))


@pytest.fixture(scope="module")
def slices() -> Slices:
    return Slices()


def features(x: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), -1)
    low, middle, high = np.percentile(flat, (10, 50, 90), axis=1)
    return np.stack([flat.mean(1), flat.var(1), low, middle, high, (flat > 0.7).mean(1), skew(flat, axis=1)], axis=1)


@pytest.mark.parametrize("number", [0, 1, 5], ids=["mean", "variance", "CSF fraction"])
def test_one_intensity_number_says_next_to_nothing(slices, number):
    auc = roc_auc_score(slices.y, features(slices.x)[:, number])
    assert max(auc, 1 - auc) < 0.65


def test_seven_intensity_features_do_not_give_it_away(slices):
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    forest = RandomForestClassifier(200, min_samples_leaf=5, random_state=0)
    assert slices.learned(linear, features(slices.x)) < LEAK
    assert slices.learned(forest, features(slices.x)) < LEAK


def test_the_level_alone_is_a_weak_prior(slices):
    level = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    assert 0.55 < slices.learned(level, slices.level) < 0.78


def test_a_linear_model_on_thumbnails_does_not_solve_it(slices):
    thumbnails = zoom(slices.x, (1, 16 / slices.x.shape[1], 16 / slices.x.shape[2]), order=1).reshape(len(slices.x), -1)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    assert slices.learned(linear, thumbnails) < LEAK


def test_the_change_against_the_twin_shows_the_label(slices):
    assert roc_auc_score(slices.y, slices.change) > 0.9
