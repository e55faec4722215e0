"""How far several opinions on the same pairs are apart."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus


def inconsistency(logits: Float[Tensor, "m n"], eta: float = 0.0) -> Float[Tensor, "n"]:
    """``2/(M(M-1)) sum_{m<k} (KL(P_m||P_k) + KL(P_k||P_m)) / 2 + eta mean_m H(P_m)``, P_m = (p_m, 1 - p_m) with p = s(logit): 0 without
    eta exactly where all agree; eta makes them sure as well (SCIR, Zhou et al. 2025, arXiv 2502.08922).

    Args:
        logits: of "the first is better", for each of M opinions on n pairs. eta: weight of the entropy, at least 0.
    """
    p = torch.sigmoid(logits)
    count = len(logits)
    total = logits.new_zeros(logits.shape[1])
    for m in range(count):
        for k in range(m):  # of two Bernoullis the two divergences add up to (p - q)(logit p - logit q)
            total = total + 0.5 * (p[m] - p[k]) * (logits[m] - logits[k])
    if count > 1:
        total = total * 2 / (count * (count - 1))
    entropy = (p * softplus(-logits) + (1 - p) * softplus(logits)).mean(0)
    return total + eta * entropy
