"""What only a GPU runs: compiled attention over trees, in values and gradients, beside the same on the CPU."""

import pytest
import torch
from torch import Tensor

from accord.policies import attention
from accord.policies.tree import Branch, TokenTree
from conftest import tiny_policy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def tree() -> TokenTree:
    """Two trees, one with branches of branches."""
    ids = lambda n, first: [(first + 7 * i) % 290 + 3 for i in range(n)]  # noqa: E731
    deep = Branch(ids(300, 0), (Branch(ids(200, 1), (Branch(ids(90, 2)), Branch(ids(70, 3)))), Branch(ids(250, 4))))
    return TokenTree([deep, Branch(ids(500, 5), (Branch(ids(300, 6)), Branch(ids(1, 7))))])


def attended(device: str, window: int | None, d: int = 16, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    t, g = tree(), torch.Generator().manual_seed(0)
    made = [torch.randn(1, h, len(t), d, generator=g) for h in (4, 2, 2)]
    q, k, v = (x.to(device, dtype).requires_grad_() for x in made)
    out = attention.tree_attention(torch.nn.Module(), q, k, v, None, scaling=0.3, sliding_window=window, tree=t)[0]
    grads = torch.autograd.grad((out * torch.linspace(0, 1, d, device=device)).sum(), (q, k, v))
    return [x.float().cpu() for x in (out, *grads)]


@pytest.mark.parametrize("window", [None, 60])
def test_compiled_attention_over_trees_is_the_cpus(window: int | None) -> None:
    assert tree().work > attention.LARGE
    for ours, should in zip(attended("cuda", window), attended("cpu", window), strict=True):
        assert float((ours - should).norm() / should.norm()) < 1e-4
    for ours, should in zip(attended("cuda", window, dtype=torch.bfloat16), attended("cpu", window), strict=True):
        assert float((ours - should).norm() / should.norm()) < 2e-2
    assert attention._flex.works


def test_small_heads_take_padded_rows() -> None:
    for ours, should in zip(attended("cuda", None, d=8), attended("cpu", None, d=8), strict=True):
        assert float((ours - should).norm() / should.norm()) < 1e-4


def test_log_probs_in_half_precision_are_near_those_of_the_cpu() -> None:
    policy = tiny_policy()
    t = tree()
    should = policy.score_tree(t).detach()
    assert torch.allclose(policy.to("cuda").score_tree(t).detach().cpu(), should, atol=2e-3)
    half = policy.to(torch.bfloat16).score_tree(t).detach()
    assert half.dtype == torch.float32
    assert float((half.cpu() - should).abs().mean()) < 0.1
