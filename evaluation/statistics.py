"""Statistics of records: IFS and other rates, average precision (AP), kernel distance (KID), intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# COCO's thresholds of overlap (IoU) and its 101 points of recall.
THRESHOLDS: tuple[float, ...] = tuple(np.round(np.arange(0.5, 1.0, 0.05), 2).tolist())
_RECALLS = np.linspace(0, 1, 101)
_LOCATED = 0.5


class Estimate(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def resamplings(pictures: int, count: int, seed: int = 0) -> Floats:
    """Counts of each picture in each of `count` bootstrap samples, (count + 1, pictures).

    The first row is the sample itself. Whole pictures are drawn, because things in one picture succeed or
    fail together; with the same rows for every method, differences between methods are paired.
    """
    random = np.random.default_rng(seed)
    drawn = random.multinomial(pictures, np.full(pictures, 1 / pictures), size=count).astype(np.float64)
    return np.concatenate((np.ones((1, pictures)), drawn))


def interval(values: Floats) -> Estimate:
    """From the value of the sample itself, first, and of its bootstrap samples; not a number is left out."""
    known = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(known, (2.5, 97.5)) if len(known) else (np.nan, np.nan)
    return Estimate(float(values[0]), float(low), float(high))


def success_rate(scores: Sequence[Mapping[str, Any]], weights: Floats) -> Floats:
    """IFS rate: the share of instances that are located and have every attribute right, per resampling."""
    return _rate([[_located(i) and _right(i) for i in one["instances"]] for one in scores], weights)


def located_rate(scores: Sequence[Mapping[str, Any]], weights: Floats) -> Floats:
    """The share of instances with something whose box overlaps theirs by at least half."""
    return _rate([[_located(i) for i in one["instances"]] for one in scores], weights)


def attribute_rate(scores: Sequence[Mapping[str, Any]], weights: Floats, name: str | None = None) -> Floats:
    """The share of located instances with one attribute right, or all of them."""
    return _rate(
        [[_right(i) if name is None else i[name] for i in one["instances"] if _located(i)] for one in scores],
        weights,
    )


def binding_rate(scores: Sequence[Mapping[str, Any]], weights: Floats) -> Floats:
    """The share of the prompt's things that are there with their own colour and pattern, per resampling."""
    return _rate([[_bound(one) for one in picture["bindings"]] for picture in scores], weights)


def missing_rate(scores: Sequence[Mapping[str, Any]], weights: Floats) -> Floats:
    """The share of the prompt's things whose shape is not there."""
    return _rate([[not one["present"] for one in picture["bindings"]] for picture in scores], weights)


def present_rate(scores: Sequence[Mapping[str, Any]], weights: Floats, name: str) -> Floats:
    """The share of the things that are there of which `color`, `pattern` (right) or `swapped` holds."""
    return _rate(
        [[one[name] for one in picture["bindings"] if one["present"]] for picture in scores], weights
    )


def extra_things(scores: Sequence[Mapping[str, Any]], weights: Floats) -> Floats:
    """Things beyond the prompt's, a picture."""
    return (weights @ np.array([one["extra"] for one in scores], dtype=np.float64)) / weights.sum(axis=1)


def _bound(thing: Mapping[str, Any]) -> bool:
    return thing["present"] and thing["color"] and thing["pattern"]


def _located(instance: Mapping[str, Any]) -> bool:
    return instance["overlap"] >= _LOCATED


def _right(instance: Mapping[str, Any]) -> bool:
    return instance["shape"] and instance["color"] and instance["pattern"]


def _rate(outcomes: Sequence[Sequence[bool]], weights: Floats) -> Floats:
    successes = np.array([sum(one) for one in outcomes], dtype=np.float64)
    totals = np.array([len(one) for one in outcomes], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return (weights @ successes) / (weights @ totals)


def average_precision(
    scores: Sequence[Mapping[str, Any]], weights: Floats, thresholds: Sequence[float] = THRESHOLDS
) -> Floats:
    """Spatial AP: COCO's average precision over overlaps 0.5 to 0.95, one class, per resampling.

    Everything found is ranked by how well its outline fits a shape of the world.
    """
    found = [(one["score"], n) for n, picture in enumerate(scores) for one in picture["detections"]]
    totals = weights @ np.array([len(one["instances"]) for one in scores], dtype=np.float64)
    if not found:
        return np.zeros(len(weights))
    order = np.argsort([-value for value, _ in found], kind="stable")
    pictures = np.array([n for _, n in found])[order]
    counted = weights[:, pictures]
    points = [_area_under_curve(counted, _hits(scores, threshold)[order], totals) for threshold in thresholds]
    return np.mean(points, axis=0)


def _hits(scores: Sequence[Mapping[str, Any]], threshold: float) -> NDArray[np.bool_]:
    """Whether each detection is right at an overlap: in the order of their score, the best instance left."""
    hits: list[bool] = []
    for picture in scores:
        found = picture["detections"]
        right = [False] * len(found)
        free = set(range(len(picture["instances"])))
        for index in sorted(range(len(found)), key=lambda index: -found[index]["score"]):
            overlaps = found[index]["overlaps"]
            best = max(free, key=lambda instance: overlaps[instance], default=None)
            if best is not None and overlaps[best] >= threshold:
                right[index] = True
                free.discard(best)
        hits += right
    return np.array(hits)


def _area_under_curve(counted: Floats, hits: NDArray[np.bool_], totals: Floats) -> Floats:
    """Interpolated precision averaged over 101 recalls, per resampling (rows of `counted`)."""
    right, all_found = np.cumsum(counted * hits, axis=1), np.cumsum(counted, axis=1)
    precision = right / np.maximum(all_found, 1e-12)
    # The precision at a recall is the best one at that recall or beyond.
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    areas = np.zeros(len(counted))
    for row, (recall, best) in enumerate(zip(right / totals[:, None], envelope, strict=True)):
        places = np.searchsorted(recall, _RECALLS - 1e-9)
        areas[row] = np.append(best, 0.0)[places].mean()
    return areas


def kernel_distance(features: Floats, reference: Floats) -> Estimate:
    """Unbiased squared kernel distance (KID, arXiv 1801.01401) of pictures from a reference.

    features (m, d), reference (n, d), put on the scale of the reference: mean 0 and deviation 1 in each
    feature. The interval is 1.96 jackknife deviations over the pictures; a bootstrap would count pairs of a
    picture with itself.
    """
    center, spread = reference.mean(axis=0), reference.std(axis=0) + 1e-6
    x, y = (features - center) / spread, (reference - center) / spread
    m, n, d = len(x), len(y), x.shape[1]

    def kernel(a: Floats, b: Floats) -> Floats:
        return (a @ b.T / d + 1) ** 3

    own, across, other = kernel(x, x), kernel(x, y), kernel(y, y)
    np.fill_diagonal(own, 0)
    np.fill_diagonal(other, 0)
    fixed = other.sum() / (n * (n - 1))
    value = own.sum() / (m * (m - 1)) + fixed - 2 * across.mean()
    # Without picture i: its row and column of `own`, its row of `across`.
    own_left = (own.sum() - 2 * own.sum(axis=1)) / ((m - 1) * (m - 2))
    across_left = (across.sum() - across.sum(axis=1)) / ((m - 1) * n)
    left = own_left + fixed - 2 * across_left
    deviation = np.sqrt((m - 1) / m * ((left - left.mean()) ** 2).sum())
    return Estimate(float(value), float(value - 1.96 * deviation), float(value + 1.96 * deviation))
