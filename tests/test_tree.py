"""Packed trees equal the plain padded computation, on every architecture that is let in."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import FeedbackError
from accord.policies import Branch, TokenTree
from accord.policies.attention import TESTED
from accord.policies.head import token_logprobs
from conftest import tiny_policy

ARCHITECTURES = ["llama", "mistral", "qwen2", "qwen3", "gpt2", "gemma3"]
Groups = list[tuple[list[int], list[list[int]]]]

CASES: dict[str, Groups] = {
    "ragged pairs": [([5, 6, 7, 8, 9, 10, 11, 12, 13], [[20, 21, 22], [30] * 15]), ([40], [[41, 42], [43]])],
    "one-token prompt, empty completion": [([5], [[], [6, 7]]), ([8, 9], [[10]])],
    "shared and unshared": [([5, 6, 7], [[8, 9]]), ([5, 6, 7], [[8, 9], [8, 9], [10, 11, 12, 13, 14, 15, 16, 17]])],
    "many small": [([i + 3, i + 4], [[i + 5, i + 6, i + 7], [i + 8]]) for i in range(8)],
}


def plain(policy, groups: Groups) -> list[torch.Tensor]:  # type: ignore[no-untyped-def]
    """Each completion's token log-probs by an ordinary forward pass of its own row."""
    out = []
    for prompt, completions in groups:
        for c in completions:
            ids = torch.tensor([prompt + c])
            logits = policy.model(input_ids=ids).logits[0].float().log_softmax(-1)
            out.append(torch.stack([logits[len(prompt) - 1 + i, k] for i, k in enumerate(c)]) if c else torch.zeros(0))
    return out


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("case", CASES)
def test_packed_equals_plain_in_value_and_gradient(architecture: str, case: str) -> None:
    groups = CASES[case]
    packed, ordinary = tiny_policy(architecture), tiny_policy(architecture, packed=False)
    assert packed.packs
    steps = packed.score_tree(TokenTree.pack(groups))
    wanted = plain(ordinary, groups)
    for row, w in zip(steps, wanted, strict=True):
        assert torch.allclose(row[: len(w)], w, atol=2e-5)
        assert not row[len(w) :].any()
    weights = torch.linspace(-1, 1, steps.numel()).reshape(steps.shape)
    (steps * weights).sum().backward()
    sum((w * weights[i, : len(w)]).sum() for i, w in enumerate(wanted)).backward()  # type: ignore[union-attr]
    for (name, p), q in zip(packed.model.named_parameters(), ordinary.model.parameters(), strict=True):
        if q.grad is not None:
            assert torch.allclose(p.grad, q.grad, atol=1e-4, rtol=1e-3), name


@pytest.mark.parametrize("case", CASES)
def test_an_untested_architecture_takes_the_padded_path_with_the_same_numbers(case: str) -> None:
    policy = tiny_policy("gemma2")
    assert not policy.packs
    groups = CASES[case]
    softcap = policy.config.final_logit_softcapping
    assert softcap is not None
    steps = policy.score_tree(TokenTree.pack(groups))
    for row, w in zip(steps, plain(policy, groups), strict=True):
        assert torch.allclose(row[: len(w)], w, atol=2e-5)


def test_the_padded_path_has_the_packed_paths_gradient() -> None:
    """A shared prompt stands in several padded rows but must count once."""
    groups = CASES["shared and unshared"]
    packed, padded = tiny_policy("llama"), tiny_policy("llama", packed=False)
    assert not padded.packs
    for policy in (packed, padded):
        policy.score_tree(TokenTree.pack(groups)).sum().backward()
    for p, q in zip(packed.parameters(), padded.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-4, rtol=1e-3)  # type: ignore[arg-type]


def test_every_architecture_that_packs_is_tested_here() -> None:
    assert {"gemma3_text" if a == "gemma3" else a for a in ARCHITECTURES} == TESTED


@st.composite
def branches(draw, depth: int = 3) -> Branch:  # type: ignore[no-untyped-def]
    tokens = draw(st.lists(st.integers(3, 200), min_size=1, max_size=5))
    children = draw(st.lists(branches(depth - 1), max_size=3)) if depth else []
    return Branch(tokens, tuple(children))


@given(st.lists(branches(), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_visibility_is_ancestry(roots: list[Branch]) -> None:
    """k <= q < end[k] holds exactly for a token's ancestors and itself; positions are depths."""
    tree = TokenTree(roots)
    seen = tree.visible()
    for q_node in tree.nodes:
        path = [t for i in q_node.path for t in range(tree.nodes[i].start, tree.nodes[i].stop)]
        for q in range(q_node.start, q_node.stop):
            ancestors = [t for t in path if t <= q]
            assert seen[q].nonzero()[:, 0].tolist() == ancestors
            assert int(tree.positions[q]) == len(ancestors) - 1


@given(st.lists(branches(), min_size=1, max_size=2), st.sampled_from([None, 3]))
@settings(max_examples=20, deadline=None)
def test_spans_and_side_by_side_batches_mean_the_same_mask(roots: list[Branch], window: int | None) -> None:
    tree = TokenTree(roots)
    wanted = tree.visible(window)
    spans = tree.spans(window)
    for span in spans:
        keys = [t for i in span.path for t in range(spans[i].start, spans[i].stop)]
        n = span.stop - span.start
        mask = torch.ones(n, n, dtype=torch.bool).tril() if span.mask is None else span.mask
        assert torch.equal(wanted[span.start : span.stop][:, keys], mask)
        assert int(wanted[span.start : span.stop].sum()) == int(mask.sum())
    batch = tree.batch(window)
    flat_of = batch.back
    for q in range(len(tree)):
        b, i = divmod(int(flat_of[q]), batch.index.shape[1])
        assert set(batch.index[b][batch.mask[b, 0, i]].tolist()) == set(wanted[q].nonzero()[:, 0].tolist())


@given(st.lists(branches(2), min_size=1, max_size=2))
@settings(max_examples=15, deadline=None)
def test_real_trees_score_each_leaf_as_its_own_row(roots: list[Branch]) -> None:
    tree = TokenTree(roots)
    if not tree.leaves:
        return
    policy, ordinary = tiny_policy("llama"), tiny_policy("llama", packed=False)
    steps = policy.score_tree(tree)
    for n, leaf in enumerate(tree.leaves):
        path = [tree.nodes[i] for i in tree.nodes[leaf].path]
        prompt = tree.tokens[path[0].start : path[0].stop].tolist()
        rest = [t for node in path[1:] for t in tree.tokens[node.start : node.stop].tolist()]
        assert torch.allclose(steps[n, : len(rest)], plain(ordinary, [(prompt, [rest])])[0], atol=2e-5)


def test_an_empty_prompt_is_refused_in_one_line() -> None:
    with pytest.raises(FeedbackError, match="prompt without tokens"):
        TokenTree.pack([([], [[1]])])


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunked_head_equals_the_full_table(
    softcap: float | None, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accord.policies.head as head

    monkeypatch.setattr(head, "CHUNK", 3)
    torch.manual_seed(0)
    h, w, b = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((7, 5), (11, 5), (11,)))
    target = torch.randint(0, 11, (7,))

    def full(h, w, b):  # type: ignore[no-untyped-def]
        z = h @ w.T + b
        z = z if softcap is None else softcap * torch.tanh(z / softcap)
        return (z / temperature).log_softmax(-1).gather(-1, target[:, None])[:, 0]

    weights = torch.randn(7).double()
    ours = token_logprobs(h, w, target, bias=b, temperature=temperature, softcap=softcap)
    grads = torch.autograd.grad((ours * weights).sum(), (h, w, b))
    wanted = torch.autograd.grad((full(h, w, b) * weights).sum(), (h, w, b))
    assert torch.allclose(ours.double(), full(h, w, b), atol=1e-5)
    for g, x in zip(grads, wanted, strict=True):
        assert torch.allclose(g, x, atol=1e-5)


def test_the_head_in_bfloat16_stays_near_single_precision() -> None:
    torch.manual_seed(0)
    h, w = torch.randn(300, 16), torch.randn(40, 16)
    target = torch.randint(0, 40, (300,))
    grads = []
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (x.detach().clone().to(dtype).requires_grad_() for x in (h, w))
        said = token_logprobs(a, b, target)
        assert said.dtype == torch.float32
        said.mean().backward()
        grads.append(b.grad.float())  # type: ignore[union-attr]
    assert float((grads[0] - grads[1]).norm() / grads[0].norm()) < 0.03
