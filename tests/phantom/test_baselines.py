"""The phantom must not leak its answer: what sees no cord must not find compression, and the picture must show it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom
from scipy.stats import skew
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from scripts.phantom.cross_sections import canal_distance, open_canal
from scripts.phantom.fields import on_pixels
from scripts.phantom.patients import Settings
from scripts.phantom.pictures import make_canvas, render, render_masks
from scripts.phantom.sampling import sample_patient

PATIENTS, MATRIX, CROP = 30, 112, 0.45
LEAK = 0.85
COVER_MM = 2.0  # painted over beyond the bony canal: what blurs and rings there


class Slices:
    """Central crops of a cohort, scaled per slice to 0...1 as the network sees them, and what is true of them."""

    def __init__(self) -> None:
        crops, covers, labels, levels, groups, changes = [], [], [], [], [], []
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
                covers.append(canal_cover(patient, row.slice_index)[part, part])
                labels.append(row.label)
                levels.append(row.level)
                groups.append(index)
                changes.append(np.abs(image - free)[mask > 0].mean())
        self.x, self.y = np.array(crops, np.float32), np.array(labels)
        self.canal = np.array(covers)
        self.level, self.group, self.change = np.array(levels)[:, None], np.array(groups), np.array(changes)

    def learned(self, model, features) -> float:
        """AUC on patients that the model has not seen."""
        folds = GroupKFold(6)
        scores = cross_val_predict(model, features, self.y, groups=self.group, cv=folds, method="predict_proba")
        return float(roc_auc_score(self.y, scores[:, 1]))


def canal_cover(patient, number: int) -> np.ndarray:
    """The pixels of the bony canal, lesions included, and a margin."""
    canvas, canal = make_canvas(patient, number, MATRIX), open_canal(patient.anatomy, patient.scan.z_mm(number))
    front = on_pixels(canal.front_mm, canvas.x_true)
    return canal_distance(canal, canvas.x_true, canvas.y_true, front) < COVER_MM


def small_cnn() -> torch.nn.Module:
    def block(before: int, after: int) -> list[torch.nn.Module]:
        return [torch.nn.Conv2d(before, after, 3, 2, 1), torch.nn.BatchNorm2d(after), torch.nn.ReLU()]

    layers = [*block(1, 16), *block(16, 32), *block(32, 64), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers, torch.nn.Dropout(0.3), torch.nn.Linear(256, 1))


def cnn_auc(images: np.ndarray, labels: np.ndarray, groups: np.ndarray, epochs: int = 10, folds: int = 3) -> float:
    """AUC of a small CNN on patients that it has not seen."""
    x, y = torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.float32))
    scores = np.zeros(len(labels))
    for seed, (train, test) in enumerate(GroupKFold(folds).split(images, labels, groups)):
        torch.manual_seed(seed)
        network, train = small_cnn(), torch.from_numpy(train)
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
        steps = epochs * -(-len(train) // 64)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
        for _ in range(epochs):
            for rows in train[torch.randperm(len(train))].split(64):
                moved = torch.roll(x[rows], torch.randint(-2, 3, (2,)).tolist(), (2, 3))
                loss = torch.nn.functional.binary_cross_entropy_with_logits(network(moved)[:, 0], y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        with torch.inference_mode():
            scores[test] = network.eval()(x[test])[:, 0].numpy()
    return float(roc_auc_score(labels, scores))


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


def test_a_cnn_learns_no_more_than_the_level_where_the_canal_is_painted_over(slices):
    """Nothing outside the canal gives the answer away; a mark of 3 pixels beside it would."""
    covered = np.where(slices.canal, np.float32(0.5), slices.x)
    level = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    assert cnn_auc(covered, slices.y, slices.group) < slices.learned(level, slices.level) + 0.03
    middle = covered.shape[1] // 2
    covered[slices.y == 1, middle - 20 : middle - 17, middle - 1 : middle + 2] = 1.0
    assert cnn_auc(covered, slices.y, slices.group) > 0.9


def test_a_linear_model_on_thumbnails_does_not_solve_it(slices):
    thumbnails = zoom(slices.x, (1, 16 / slices.x.shape[1], 16 / slices.x.shape[2]), order=1).reshape(len(slices.x), -1)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    assert slices.learned(linear, thumbnails) < LEAK


def test_the_change_against_the_twin_shows_the_label(slices):
    assert roc_auc_score(slices.y, slices.change) > 0.9
