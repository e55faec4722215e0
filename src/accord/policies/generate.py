"""Sampling: one prefill for each prompt, its cache shared out to the group, all groups decoded together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from accord.engine.seeds import generator
from accord.policies.base import Sampling
from accord.policies.cache import growing_cache
from accord.policies.meter import count


@dataclass(frozen=True)
class Drawn:
    """Sampled ids of each row, log-probs at the sampled temperature, and which rows ended by themselves."""

    ids: list[list[int]]
    mask: Bool[Tensor, "n t"]
    logprobs: Float[Tensor, "n t"]
    finished: Bool[Tensor, "n"]


def generate(model: Any, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, *, seed: int, eos: set[int],
             pad: int, decode: Callable[[Sequence[int]], str]) -> Drawn:  # fmt: skip
    """Draw n continuations of each prompt from a causal LM.

    Each row has its own stream of uniform numbers, derived from (seed, row), and a token is the inverse of the
    cumulative distribution at the next number: draws don't depend on what else is in the batch. Rows that have
    ended leave the batch.
    """
    device = model.device
    rows = len(prompts) * n
    uniform = torch.stack([
        torch.rand(sampling.max_new_tokens, generator=generator(seed, row, purpose="sample")) for row in range(rows)
    ])  # fmt: skip
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    attend = torch.zeros((len(prompts), width), dtype=torch.long)
    for i, p in enumerate(prompts):  # left-padded, so that every row's next token stands in the same column
        ids[i, width - len(p) :], attend[i, width - len(p) :] = torch.tensor(p), 1
    attend = attend.to(device)
    positions = (attend.cumsum(-1) - 1).clamp(min=0)
    cache = growing_cache(model.config)
    out = model(input_ids=ids.to(device), attention_mask=attend, position_ids=positions, past_key_values=cache,
                use_cache=True, logits_to_keep=1)  # fmt: skip
    cache = out.past_key_values
    if n > 1:
        cache.batch_repeat_interleave(n)
    logits = out.logits[:, -1].repeat_interleave(n, 0)
    attend = attend.repeat_interleave(n, 0)
    position = positions[:, -1].repeat_interleave(n, 0)

    drawn: list[list[int]] = [[] for _ in range(rows)]
    logprobs = torch.zeros(rows, sampling.max_new_tokens)
    finished = torch.zeros(rows, dtype=torch.bool)
    alive = torch.arange(rows)
    for t in range(sampling.max_new_tokens):
        token, logp = draw(logits, uniform[alive, t].to(device), sampling)
        logprobs[alive, t] = logp.cpu()
        for row, k in zip(alive.tolist(), token.tolist(), strict=True):
            drawn[row].append(k)
            finished[row] = k in eos or _stopped(drawn[row], sampling.stop, decode)
        going = ~finished[alive]
        if t + 1 == sampling.max_new_tokens or not going.any():
            break
        if not going.all():
            keep = going.nonzero()[:, 0].to(device)
            cache.batch_select_indices(keep)
            attend, position, token, alive = attend[keep], position[keep], token[keep], alive[going]
        attend = torch.cat([attend, attend.new_ones(len(attend), 1)], 1)
        position = position + 1
        out = model(input_ids=token[:, None], attention_mask=attend, position_ids=position[:, None],
                    past_key_values=cache, use_cache=True)  # fmt: skip
        logits, cache = out.logits[:, -1], out.past_key_values
    count(model, sum(map(len, prompts)) + sum(map(len, drawn)))
    lengths = torch.tensor([len(d) for d in drawn])
    steps = int(lengths.max())
    return Drawn(drawn, torch.arange(steps)[None] < lengths[:, None], logprobs[:, :steps], finished)


def draw(logits: Float[Tensor, "n v"], uniform: Float[Tensor, "n"],
         sampling: Sampling) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:  # fmt: skip
    """One token a row by inverse transform of `uniform`, with its log-prob at the temperature (before any top-p)."""
    logits = logits.float()
    if sampling.temperature == 0:
        best, token = logits.max(-1)
        return token, best - logits.logsumexp(-1)
    z = logits if sampling.temperature == 1 else logits / sampling.temperature
    p = (z - z.amax(-1, keepdim=True)).exp_()
    total = p.sum(-1, dtype=torch.float64)
    kept = p
    if sampling.top_p < 1:
        ranked, order = p.sort(-1, descending=True)
        outside = ranked.cumsum(-1) - ranked >= sampling.top_p * total.float()[:, None]
        kept = torch.zeros_like(p).scatter(-1, order, ranked.masked_fill(outside, 0.0))
    cdf = kept.cumsum(-1, dtype=torch.float64)
    # u * total < total always falls on a token of positive probability.
    token = torch.searchsorted(cdf, (uniform.double() * cdf[:, -1])[:, None], right=True).clamp(max=p.shape[-1] - 1)
    return token[:, 0], (p.gather(-1, token).double()[:, 0] / total).log().float()


def _stopped(ids: list[int], stop: tuple[str, ...], decode: Callable[[Sequence[int]], str]) -> bool:
    """Whether a stop string has appeared; only the tail is decoded, long enough to hold the longest of them."""
    if not stop:
        return False
    tail = decode(ids[-(max(map(len, stop)) + 8) :])
    return any(s in tail for s in stop)
