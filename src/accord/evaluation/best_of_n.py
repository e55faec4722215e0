"""What rises and what falls as best-of-n optimises a reward harder."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from accord.errors import ConfigError


def best_of_n_curve(chooser: Float[Tensor, "p m"], judges: Mapping[str, Float[Tensor, "p m"]],
                    ns: Sequence[int]) -> list[dict[str, float]]:  # fmt: skip
    """Mean of each judge on the answer that `chooser` likes most among n, for each n; exact over all subsets.

    With m scored answers a prompt, the answer of rank r (r better ones) is the best of a random n-subset with
    probability ``C(m-1-r, n-1) / C(m, n)``; so no subset needs to be drawn.

    Args:
        chooser: scores of p prompts' m answers each. judges: other scores of the same answers (gold, other rewards).

    Returns:
        A row for each n: n, kl (``log n - (n-1)/n``), chooser, and each judge's mean.
    """
    m = chooser.shape[1]
    if max(ns) > m:
        raise ConfigError(f"best-of-{max(ns)} needs {max(ns)} answers a prompt, but there are {m}")
    order = chooser.argsort(-1, descending=True)
    rows = []
    for n in ns:
        p = torch.tensor([math.comb(m - 1 - r, n - 1) / math.comb(m, n) for r in range(m)], dtype=torch.float64)
        means = {
            name: float((x.gather(-1, order).double() * p).sum(-1).mean())
            for name, x in {"chooser": chooser, **judges}.items()
        }
        rows.append({"n": float(n), "kl": math.log(n) - (n - 1) / n, **means})
    return rows
