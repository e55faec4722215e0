"""The shortest vector among all means of some: which shares of several objectives let a step harm none of them."""

import torch
from jaxtyping import Float
from torch import Tensor

STEPS, NEAR = 1000, 1e-10


def min_norm(vectors: Float[Tensor, "k d"]) -> Float[Tensor, "k"]:
    """``argmin |sum_i l_i g_i|^2`` over shares l >= 0 that sum to 1 (MGDA, Desideri 2012; Sener & Koltun 2018, arXiv 1810.04650).

    Share goes from the gradient that lies farthest along the mean to the one that lies least along it, each time as far as helps
    (pairwise Frank-Wolfe), until none lies farther along it than another. Of two that is the closed form, reached at once.

    Args:
        vectors: of the objectives, one a row; zeros are fine.
    """
    gram = (vectors.double() @ vectors.double().T).cpu()
    shares = torch.full((len(gram),), 1 / len(gram), dtype=torch.float64)
    for _ in range(STEPS):
        along = gram @ shares
        least, most = int(along.argmin()), int(along.masked_fill(shares <= 0, -torch.inf).argmax())
        gap = float(along[most] - along[least])
        if gap <= NEAR * float(gram.diagonal().max()):
            break
        bend = float(gram[least, least] - 2 * gram[least, most] + gram[most, most])
        step = min(float(shares[most]), gap / bend)
        shares[least] += step
        shares[most] -= step
    return shares.clamp(min=0).to(vectors)
