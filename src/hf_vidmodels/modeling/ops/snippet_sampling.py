"""Choosing and stretching the snippet features of a video before a network sees them (ASM-Loc, CVPR 2022).

Everything is NumPy on one video: a network gets at most a fixed number of snippets, evenly spaced (test) or one random
row per equal bin (training), optionally after *dynamic segment sampling*, which stretches time where weights exceed 1.
Facts are those of the official code at commit 4acb3c86c5ec.
"""

from dataclasses import dataclass

import numpy as np

# Rounding the weight sum of a stretched run of n >= 2 snippets scales its weights by no less than n / (n + 0.5).
LOWEST_WEIGHT = 0.8


def interpolate_linear(x_new: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Evaluate the piecewise-linear curve through the knots, extended along its first and last piece.

    A position that is a knot belongs to the piece on its left; this decides nothing but rounding.

    Args:
        x_new: (M,) positions, anywhere.
        x: (N,) strictly increasing knots, N >= 2.
        y: (N,) or (N, C) values at the knots.

    Returns:
        (M,) or (M, C) float64.

    Raises:
        ValueError: fewer than two knots, or another number of values than knots.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y)
    x_new = np.asarray(x_new, dtype=np.float64)
    if len(x) < 2 or len(x) != len(y):
        raise ValueError(f"interpolation needs two or more knots with a value each, got {len(x)} and {len(y)}")
    left = np.clip(np.searchsorted(x, x_new, side="left") - 1, 0, len(x) - 2)
    per_row = (slice(None),) + (None,) * (y.ndim - 1)
    slopes = np.diff(y, axis=0) / np.diff(x)[per_row]
    # `take` copies whole rows, several times faster than indexing does.
    return slopes.take(left, axis=0) * (x_new - x.take(left))[per_row] + y.take(left, axis=0)


def sample_uniform(features: np.ndarray, num_snippets: int) -> np.ndarray:
    """Choose at most `num_snippets` evenly spaced rows, as at test time.

    Args:
        features: (L, C).
        num_snippets: S, 1 or more.

    Returns:
        (T, C) rows of `features`: all of them when 1 < L <= S, S of them when L > S, and the only row twice when
        L = 1, because curves over time need two points.

    Raises:
        ValueError: not 2-D, no rows, or `num_snippets` below 1.
    """
    features = _checked_rows(features, num_snippets)
    length = len(features)
    if length == 1:
        return features.repeat(2, axis=0)
    if length <= num_snippets:
        return features
    return features[np.floor(np.arange(num_snippets) * (length / num_snippets)).astype(np.int64)]


def sample_random(
    features: np.ndarray,
    num_snippets: int,
    generator: np.random.Generator | None = None,
    draws: np.ndarray | None = None,
) -> np.ndarray:
    """Bring a video to exactly `num_snippets` rows, as in training.

    A longer video is cut into equal bins and gives one random row per bin (its last row is never drawn); a shorter one
    is interpolated at equal steps from its first to its last row, without randomness; a single row is repeated.

    Args:
        features: (L, C).
        num_snippets: S, 1 or more.
        generator: source of the draws, needed when L > S and `draws` is not given.
        draws: (S,) uniform numbers in [0, 1) that take the generator's place.

    Returns:
        (S, C); chosen rows keep their type, interpolated ones are float64.

    Raises:
        ValueError: not 2-D, no rows, `num_snippets` below 1, neither generator nor draws, or draws of another length.
    """
    features = _checked_rows(features, num_snippets)
    length = len(features)
    if length == 1:
        return features.repeat(num_snippets, axis=0)
    if length == num_snippets:
        return features
    if length < num_snippets:
        return interpolate_linear(np.linspace(0, length - 1, num_snippets), np.arange(length), features)
    if draws is None:
        if generator is None:
            raise ValueError(f"random sampling of {length} rows to {num_snippets} needs a generator or draws")
        draws = generator.random(num_snippets)
    if np.shape(draws) != (num_snippets,):
        raise ValueError(f"draws must have shape ({num_snippets},), got {np.shape(draws)}")
    edges = np.round(np.arange(num_snippets + 1) * (length - 1) / num_snippets).astype(np.int64)
    return features[edges[:-1] + np.floor(draws * np.diff(edges)).astype(np.int64)]


def warp_features(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Stretch time where weights exceed 1: row j takes up `weights[j]` rows of the result.

    Args:
        features: (L, C).
        weights: (L,) sampling weights of 1 or more, see `proposal_guidance.sampling_weights`.

    Returns:
        (M, C) float64 with M the rounded sum of the weights. Weights of one give the features back. A single row comes
        back twice.

    Raises:
        ValueError: not 2-D, no rows, weights of another length, below 1 or not finite.
    """
    features = _checked_rows(features, 1)
    warp = TimeWarp.from_weights(weights, len(features))
    if warp is None:
        return features.astype(np.float64).repeat(2, axis=0)
    positions = interpolate_linear(
        np.arange(1, warp.num_warped + 1), warp.cumulated_weights, np.arange(len(features) + 1)
    )
    return interpolate_linear(positions, np.arange(1, len(features) + 1), features)


def upsample_curves(curves: np.ndarray, scale: int, anchor: float = 0.0) -> np.ndarray:
    """Interpolate curves linearly to `scale` points per snippet.

    The points outside the first and last anchor extend the pieces there, so values may leave the range of the curve.

    Args:
        curves: (T, K), T >= 2.
        scale: points per snippet.
        anchor: where in a snippet its value stands, 0 (its start) to 1.

    Returns:
        (scale * T, K) float64.

    Raises:
        ValueError: fewer than two snippets.
    """
    length = len(curves)
    return interpolate_linear(np.arange(scale * length) * (1 / scale) - anchor, np.arange(length), curves)


@dataclass(frozen=True, eq=False)
class TimeWarp:
    """The map between time in a video and time on its stretched axis.

    Attributes:
        cumulated_weights: (L + 1,) float64, 0 and the running sums c_1..c_L of the sampling weights.
    """

    cumulated_weights: np.ndarray

    @classmethod
    def from_weights(cls, weights: np.ndarray, num_features: int | None = None) -> "TimeWarp | None":
        """Build the map; `None` for a video of one row, whose time cannot be stretched.

        Args:
            weights: (L,) sampling weights of 1 or more.
            num_features: L, when it is to be checked.

        Raises:
            ValueError: weights of another length, below 1 or not finite.
        """
        weights = np.asarray(weights, dtype=np.float64)
        if weights.ndim != 1 or len(weights) == 0 or (num_features is not None and len(weights) != num_features):
            wanted = "L" if num_features is None else num_features
            raise ValueError(f"sampling weights must have shape ({wanted},), one per feature row, got {weights.shape}")
        if not np.isfinite(weights).all() or weights.min() < LOWEST_WEIGHT:
            raise ValueError(f"sampling weights must be finite and 1 or more, got {weights.min()} as the smallest")
        if len(weights) == 1:
            return None
        return cls(np.concatenate([[0.0], np.cumsum(weights)]))

    @property
    def num_features(self) -> int:
        """Rows L of the video."""
        return len(self.cumulated_weights) - 1

    @property
    def num_warped(self) -> int:
        """Rows M of the stretched video."""
        return int(np.round(self.cumulated_weights[-1]))

    def to_original_seconds(self, times: np.ndarray, duration: float) -> np.ndarray:
        """Map stretched time, scaled so that it also ends at `duration`, to time in the video.

        Args:
            times: any shape, seconds.
            duration: seconds that the L rows span.
        """
        times = np.asarray(times, dtype=np.float64)
        knots = self.cumulated_weights / self.cumulated_weights[-1]
        shares = np.arange(self.num_features + 1) / self.num_features
        return duration * interpolate_linear(times.ravel() / duration, knots, shares).reshape(times.shape)

    def to_stretched_seconds(self, times: np.ndarray, snippets_per_second: float) -> np.ndarray:
        """Map time in the video to the stretched axis, where a snippet keeps its length in seconds.

        Args:
            times: any shape, seconds.
            snippets_per_second: rate of the feature rows.
        """
        times = np.asarray(times, dtype=np.float64)
        knots = np.arange(self.num_features + 1)
        # Row j stands for position j + 1 of the map, the end of its snippet.
        positions = interpolate_linear(times.ravel() * snippets_per_second + 1, knots, self.cumulated_weights)
        return ((positions - 1) / snippets_per_second).reshape(times.shape)


def _checked_rows(features: np.ndarray, num_snippets: int) -> np.ndarray:
    features = np.asarray(features)
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(f"features must have shape (L, C) with one row or more, got {features.shape}")
    if num_snippets < 1:
        raise ValueError(f"num_snippets must be 1 or more, got {num_snippets}")
    return features
