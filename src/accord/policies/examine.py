"""A model is tried on a few tokens before it is used: what it samples must be as likely as what training computes.

The measure is the class's own logits for a plain text. Where the fast way through a model (one packed row, its head taken
apart) says something else, a slower one is taken; where none agrees the model is refused, in one line.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.errors import ModelError
from accord.policies.base import Sampling
from accord.policies.generate import Way, generate
from accord.policies.tokenise import Tokeniser
from accord.policies.tree import TokenTree

log = logging.getLogger(__name__)

ROWS = ((5, 4, 2), (2, 3, 1))
"""Tokens of each prompt that is tried, tokens of its completions, and how many they are."""


@dataclass(frozen=True)
class Head:
    """What a class does between its last hidden states and its logits: ``cap tanh(scale (W h + b) / cap)``."""

    scale: float = 1.0
    softcap: float | None = None


class Examined(Protocol):
    """A language model with ways to choose from: `packs` rows of trees, takes its `head` apart, and samples by a cache."""

    name: str
    tokeniser: Tokeniser
    packs: bool
    head: Head | None
    sampling_way: Way

    @property
    def core(self) -> Any: ...
    @property
    def backbone(self) -> Any: ...
    @property
    def config(self) -> Any: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def context(self) -> int | None: ...
    def score_tree(self, tree: TokenTree, temperature: float = 1.0) -> Float[Tensor, "n t"]: ...


@torch.no_grad()
def examine(policy: Examined) -> None:
    """Choose a policy's way through its model.

    Raises:
        ModelError: there is none by which accord could train it.
    """
    kind = type(policy.core).__name__
    try:
        groups = _groups(policy)
        truth = [t for prompt, answers in groups for t in own_logprobs(policy, prompt, answers)]
        prompt, (answer, _) = groups[0]
        logits, followed = _logits(policy, [prompt]), _logits(policy, [[*prompt, *answer]])
        ahead = _differs(policy, [_of(logits, prompt)], [_of(followed, prompt)])
        measured = _head(policy, prompt, logits)
    except Exception as error:
        raise ModelError(f"{policy.name}: {kind} is no language model that reads plain text: {_line(error)}") from error
    if ahead:
        raise ModelError(
            f"{policy.name}: {kind} sees what comes after a token (is_decoder=False?): it is no causal language model"
        )
    tree, asked = TokenTree.pack(groups), policy.packs
    said = ""
    for packs in (True, False) if asked else (False,):
        for head in dict.fromkeys((measured, None)):
            policy.packs, policy.head = packs, head
            try:
                found = [row[: len(t)] for row, t in zip(_trained(policy, tree), truth, strict=True)]
                said = _differs(policy, found, truth)
            except Exception as error:
                said = _line(error)
            if not said:
                _examine_sampling(policy, [p for p, _ in groups])
                return _say(policy, kind)
    raise ModelError(
        f"{policy.name}: {kind} can't be trained here: its log-probs, computed apart from its own logits, differ ({said})"
    )


@torch.enable_grad()
def _trained(policy: Examined, tree: TokenTree) -> Float[Tensor, "n t"]:
    """Log-probs as training computes them, with a gradient that goes all the way back to the embeddings."""
    entered: list[Tensor] = []
    hook = policy.core.get_input_embeddings().register_forward_hook(
        lambda module, given, out: entered.append(out.requires_grad_())
    )
    try:
        scored = policy.score_tree(tree)
    finally:
        hook.remove()
    torch.autograd.grad(scored.sum(), entered, allow_unused=True)
    return scored.detach()


def _say(policy: Examined, kind: str) -> None:
    ways = {
        "padded rows (tree attention is tested for others only)": not policy.packs,
        "all logits at once, from its own head": policy.head is None,
        "a cache that its rows don't share": policy.sampling_way == "own",
        "sampling without a cache": policy.sampling_way == "none",
    }
    if any(ways.values()):
        log.warning(
            "%s: %s takes slower ways: %s", policy.name, kind, "; ".join(w for w, taken in ways.items() if taken)
        )


def _examine_sampling(policy: Examined, prompts: list[list[int]]) -> None:
    """The first way of using the cache by which what is sampled is as likely as it was said to be."""
    ways: tuple[Way, ...] = ("shared", "own", "none")
    for way in ways:
        policy.sampling_way = way
        try:
            drawn = generate(policy.core, prompts, 2, Sampling(max_new_tokens=3), seed=0, eos=set(), pad=policy.tokeniser.pad,
                             decode=policy.tokeniser.decode, context=policy.context, way=way)  # fmt: skip
            truth = [t for i, p in enumerate(prompts) for t in own_logprobs(policy, p, drawn.ids[2 * i : 2 * i + 2])]
            said = _differs(policy, list(drawn.logprobs), truth)
        except Exception as error:
            said = _line(error)
        if not said:
            return
    raise ModelError(f"{policy.name}: {type(policy.core).__name__} can't be sampled: what it draws is less or more likely by its own "
                     f"logits ({said})")  # fmt: skip


def own_logprobs(policy: Examined, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> Float[Tensor, "n t"]:
    """Log-probs of completions of one length by the class's own logits for the whole text, without padding or a cache."""
    logp = _logits(policy, [[*prompt, *c] for c in completions])[:, len(prompt) - 1 : -1].log_softmax(-1)
    return logp.gather(-1, torch.tensor(completions, device=logp.device)[..., None])[..., 0]


def _of(logits: Float[Tensor, "1 l v"], ids: list[int]) -> Float[Tensor, "t"]:
    """Log-probs of the tokens of one row, but for its first."""
    after = torch.tensor(ids[1:], device=logits.device)[:, None]
    return logits[0, : len(after)].log_softmax(-1).gather(-1, after)[:, 0]


def _logits(policy: Examined, rows: list[list[int]]) -> Float[Tensor, "n l v"]:
    return policy.core(input_ids=torch.tensor(rows, device=policy.device), use_cache=False).logits.float()


def _groups(policy: Examined) -> list[tuple[list[int], list[list[int]]]]:
    """Ordinary tokens from all over the vocabulary."""
    inner = policy.tokeniser.inner
    known = min(policy.core.get_input_embeddings().weight.shape[0], len(inner))
    special = set(inner.all_special_ids)
    usable = [i for i in range(known) if i not in special] or list(range(known))
    take = (usable[(7919 * i) % len(usable)] for i in count(1))
    return [(list(islice(take, n)), [list(islice(take, m)) for _ in range(k)]) for n, m, k in ROWS]


def _head(policy: Examined, ids: list[int], logits: Float[Tensor, "1 l v"]) -> Head | None:
    """How the class makes logits of its last hidden states, by measurement; None where it is more than a scale and a cap."""
    linear = policy.core.get_output_embeddings()
    if not isinstance(linear, nn.Linear):
        return None
    rows = {"input_ids": torch.tensor([ids], device=policy.device), "use_cache": False}
    try:
        plain = linear(policy.backbone(**rows).last_hidden_state).double()
    except Exception:  # a class whose inside is built otherwise goes by its own logits
        return None
    logits = logits.double()
    cap = getattr(policy.config.get_text_config(), "final_logit_softcapping", None)
    wanted = logits if not cap else cap * torch.atanh((logits / cap).clamp(-0.999999, 0.999999))
    scale = float((wanted * plain).sum() / plain.square().sum())
    # A config names the exact number; what is measured has the precision of the weights.
    named = [
        float(v) for v in vars(policy.config.get_text_config()).values() if isinstance(v, int | float) and v and v == v
    ]
    near = min([1.0, *named, *(1 / v for v in named)], key=lambda v: abs(v - scale))
    return Head(near if abs(near - scale) < 0.01 * abs(scale) else scale, cap or None)


def _differs(policy: Examined, found: list[Tensor], truth: list[Tensor]) -> str:
    """By how much two tellings of the same log-probs differ, as words; "" where they agree."""
    gap = max(
        float((f[: len(t)].float().cpu() - t.float().cpu()).abs().max()) for f, t in zip(found, truth, strict=True)
    )
    narrow = next(policy.core.parameters()).dtype not in (torch.float32, torch.float64)
    return "" if gap < (0.5 if narrow else 2e-3) else f"by {gap:.3g}"


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
