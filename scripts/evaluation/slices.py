"""AUC, sensitivity, specificity and F1 over all slices, without intervals, as every evaluation writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score


def slice_metrics(labels: ArrayLike, logits: ArrayLike, threshold: float) -> dict[str, Any]:
    """Compute AUC, sensitivity, specificity, F1 and accuracy over all slices; what is undefined is None, never 0 or 1.

    All of them are undefined where a logit is not finite, as those of a network whose training diverged.

    Args:
        labels: 0 or 1 of each slice, shape (S,).
        logits: logit of each slice, shape (S,).
        threshold: probability from which a slice is called compressed.

    Returns:
        ``auc``, ``sensitivity``, ``specificity``, ``f1``, ``accuracy``, ``prevalence``, ``threshold`` and ``n_slices``.
    """
    truth = np.asarray(labels).astype(int)
    scores = np.asarray(logits, dtype=float)
    if not np.isfinite(scores).all():
        undefined = dict.fromkeys(("auc", "sensitivity", "specificity", "f1", "accuracy"))
        return {**undefined, "prevalence": float(truth.mean()), "threshold": threshold, "n_slices": int(truth.size)}
    called = (expit(scores) >= threshold).astype(int)
    (tn, fp), (fn, tp) = confusion_matrix(truth, called, labels=[0, 1])
    both = 0 < truth.sum() < truth.size
    return {
        "auc": float(roc_auc_score(truth, scores)) if both else None,
        "sensitivity": float(tp / (tp + fn)) if tp + fn else None,
        "specificity": float(tn / (tn + fp)) if tn + fp else None,
        "f1": float(f1_score(truth, called)) if tp + fn + fp else None,
        "accuracy": float((tp + tn) / truth.size) if truth.size else None,
        "prevalence": float(truth.mean()) if truth.size else None,
        "threshold": threshold,
        "n_slices": int(truth.size),
    }
