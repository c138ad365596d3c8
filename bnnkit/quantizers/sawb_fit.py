"""Where SAWB's coefficients come from: the best clipping range of known distributions, regressed on two statistics."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SAMPLES = 50_000


def fit(bits: int) -> tuple[float, float]:
    """Return (a, b) of the clipping range a * std - b * mean|w| for symmetric quantizers of `bits` bits.

    For the normal, uniform, Laplace, logistic and triangular distributions, represented by their quantiles, the range
    of least squared error is searched; range / mean|w| is then regressed on std / mean|w|.

    Paper: Choi et al., SysML 2019, which does the same and publishes (12.68, 12.80) for 4 bits.

    >>> [round(c, 1) for c in fit(4)]
    [11.8, 11.7]
    """
    statistics, ranges = [], []
    for samples in _distributions().values():
        mean = samples.abs().mean()
        statistics.append(torch.stack([samples.std() / mean, torch.tensor(-1.0, dtype=torch.float64)]))
        ranges.append(best_range(samples, 2 ** (bits - 1) - 1) / mean)
    solution = torch.linalg.lstsq(torch.stack(statistics), torch.stack(ranges)[:, None]).solution
    return float(solution[0]), float(solution[1])


def best_range(samples: Tensor, steps: int) -> Tensor:
    """Return the clipping range whose quantization to `steps` levels on either side of 0 errs least."""
    candidates = torch.logspace(-2, 0, 600, dtype=torch.float64) * samples.abs().max() * 1.001
    errors = [float(_squared_error(samples, alpha, steps)) for alpha in candidates]
    at = min(max(errors.index(min(errors)), 1), len(errors) - 2)
    low, high = candidates[at - 1], candidates[at + 1]
    for _ in range(30):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if _squared_error(samples, left, steps) < _squared_error(samples, right, steps):
            high = right
        else:
            low = left
    return (low + high) / 2


def _squared_error(samples: Tensor, alpha: Tensor, steps: int) -> Tensor:
    quantized = (samples.clamp(-alpha, alpha) * steps / alpha).round() * alpha / steps
    return ((samples - quantized) ** 2).mean()


def _distributions() -> dict[str, Tensor]:
    u = (torch.arange(_SAMPLES, dtype=torch.float64) + 0.5) / _SAMPLES
    centred = 2 * u - 1
    return {
        "normal": torch.erfinv(centred) * math.sqrt(2),
        "uniform": centred,
        "laplace": -torch.sign(centred) * torch.log1p(-centred.abs()),
        "logistic": torch.log(u / (1 - u)),
        "triangular": torch.sign(centred) * (1 - torch.sqrt(1 - centred.abs())),
    }
