"""Average precision and area under the ROC curve of every label at once, fast enough for a thousand resamples.

scikit-learn's functions say the same (tests hold them against each other, ties and weights included). They sort again
for every weighting; here scores are sorted once, and a resample is two running sums over them.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from earbench.contract import Rows

Floats = NDArray[np.float64]
Numbers = NDArray[np.intp]
TINY = np.finfo(np.float64).tiny


class Ranking:
    """`score` [clip, label] in order, and where in it the clips are that have the label by `truth` [clip, label].

    A label whose scores are not all numbers has no value, whatever the weights.
    """

    def __init__(self, truth: NDArray[np.bool_], score: NDArray[np.floating]) -> None:
        count, self.labels = score.shape
        order = np.argsort(-score.T, axis=1, kind="stable")
        ranked, right = np.take_along_axis(score.T, order, 1), np.take_along_axis(truth.T, order, 1)
        changes = ranked[:, 1:] != ranked[:, :-1]
        edge = np.ones((self.labels, 1), bool)
        begins, ends = _first(np.hstack((edge, changes))), _last(np.hstack((changes, edge)))
        self.label, place = np.nonzero(right)
        self.order, self.clip = order.ravel(), order[self.label, place]
        start = self.label * count
        before, behind = start + begins[self.label, place], start + ends[self.label, place] + 1
        self.cuts = np.unique(np.concatenate((np.arange(self.labels) * count, before, behind[behind < order.size])))
        self.start, self.before, self.behind = (np.searchsorted(self.cuts, at) for at in (start, before, behind))
        new = np.append(True, before[1:] != before[:-1])[: len(before)]  # positives of one tie lie side by side
        self.first, self.last = _first(new[None])[0], _last(np.append(new[1:], True)[None, : len(new)])[0]
        self.opening = np.searchsorted(self.label, self.label)
        self.sound: NDArray[np.bool_] = np.isfinite(score).all(0)
        having = right.sum(1)
        self.absent: NDArray[np.bool_] = having == 0
        self.one_sided: NDArray[np.bool_] = self.absent | (having == count)

    def precisions(self, weights: Floats) -> Floats:
        """Average precision per label: precision weighted by the step in recall, from the highest score down.

        Clips of one score are one step. NaN where no clip of any weight has the label.
        """
        own, (_, right), (_, passed) = self._sums(weights)
        return self._means(own * right / np.maximum(passed, TINY), own)  # clips of weight zero may come first

    def areas(self, weights: Floats) -> Floats:
        """Area under the ROC curve per label: how often a clip with it scores above one without; ties count half.

        NaN where clips of one kind have no weight.
        """
        own, right, passed = self._sums(weights)
        others = weights.sum() - self._totals(own)
        above = (passed[0] - right[0] + passed[1] - right[1]) / 2
        share = (others[self.label] - above) / np.maximum(others[self.label], TINY)
        return np.where(others > 0, self._means(own * share, own), np.nan)

    def _sums(self, weights: Floats) -> tuple[Floats, tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Of every clip with its label: its weight; the weight of clips with the label, and of all clips, that score
        above it, and at least as high.
        """
        own = weights[self.clip]
        running = np.append(0.0, np.cumsum(own))
        right = running[[self.first, self.last + 1]] - running[self.opening]
        between = np.add.reduceat(weights[self.order], self.cuts)  # far fewer numbers than a running sum has
        running = np.append(0.0, np.cumsum(between))
        passed = running[[self.before, self.behind]] - running[self.start]
        return own, (right[0], right[1]), (passed[0], passed[1])

    def _totals(self, values: Floats) -> Floats:
        return np.bincount(self.label, values, self.labels).astype(np.float64)

    def _means(self, values: Floats, own: Floats) -> Floats:
        """Sums per label over the weight of its clips; rounding may leave a perfect one a hair above one."""
        whole = self._totals(own)
        means = np.minimum(1.0, self._totals(values) / np.maximum(whole, TINY))
        return np.where((whole > 0) & self.sound, means, np.nan)


def ranking(rows: Rows, truth: Callable[[Rows], NDArray[np.bool_]]) -> Ranking:
    """The ranking of the array "score" of `rows` by what `truth` makes of them; sorted when first asked for."""
    if rows not in _KNOWN:
        _KNOWN[rows] = Ranking(truth(rows), rows.arrays["score"])
    return _KNOWN[rows]


_KNOWN: WeakKeyDictionary[Rows, Ranking] = WeakKeyDictionary()


def _first(begins: NDArray[np.bool_]) -> Numbers:
    """For every place in a row, where the run began that it is in; a run begins where `begins` says."""
    places = np.where(begins, np.arange(begins.shape[1]), 0)
    found: Numbers = np.maximum.accumulate(places, axis=1)
    return found


def _last(ends: NDArray[np.bool_]) -> Numbers:
    """The same for where it ends."""
    count = ends.shape[1]
    found: Numbers = count - 1 - _first(ends[:, ::-1])[:, ::-1]
    return found
