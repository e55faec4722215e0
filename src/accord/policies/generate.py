"""Sampling: one prefill for each prompt, its cache shared out to the group, all groups decoded together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from accord.engine.seeds import Seeds, generator, numbered, times
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


Way = Literal["shared", "own", "none"]
"""How a model's cache is used: shared out to a prompt's rows; each row its own, as the class keeps it; or none at all."""


def generate(model: Any, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, *, seed: int | Seeds, eos: set[int],
             pad: int, decode: Callable[[Sequence[int]], str], context: int | None = None, way: Way = "shared") -> Drawn:  # fmt: skip
    """Draw n continuations of each prompt from a causal LM.

    Each row has its own stream of uniform numbers, derived from (seed, row), and a token is the inverse of the
    cumulative distribution at the next number: draws don't depend on what else is in the batch. Rows that have
    ended leave the batch.

    Args:
        context: tokens that the model takes; a row that has reached so many is cut, as at the length limit.
        way: by which the model's cache can be used.
    """
    device = model.device
    rows = len(prompts) * n
    one, numbers = numbered(times(seed, n), rows)
    uniform = torch.stack([
        torch.rand(sampling.max_new_tokens, generator=generator(one, row, purpose="sample")) for row in numbers
    ])  # fmt: skip
    limit = torch.tensor([sampling.max_new_tokens if context is None else context - len(p) for p in prompts])
    limit = limit.clamp(max=sampling.max_new_tokens).repeat_interleave(n)
    stream = _STREAMS[way](model, prompts, n, pad)
    logits = stream.logits
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
        going = ~finished[alive] & (limit[alive] > t + 1)
        if not going.any():
            break
        if not going.all():
            stream.keep(keep := going.nonzero()[:, 0].to(device))
            token, alive = token[keep], alive[going]
        logits = stream.go_on(token)
    count(model, sum(map(len, prompts)) + sum(map(len, drawn)))
    lengths = torch.tensor([len(d) for d in drawn])
    steps = int(lengths.max())
    return Drawn(drawn, torch.arange(steps)[None] < lengths[:, None], logprobs[:, :steps], finished)


class _Cached:
    """Rows that are decoded token by token; each prompt is read once and its cache shared out to its rows."""

    shares = True

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], n: int, pad: int) -> None:
        self.model = model
        # A class that can't share its cache out reads a prompt once for each row, and finished rows stay in its batch.
        rows = prompts if self.shares else [p for p in prompts for _ in range(n)]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), pad, dtype=torch.long)
        attend = torch.zeros((len(rows), width), dtype=torch.long)
        for i, p in enumerate(rows):  # left-padded, so that every row's next token stands in the same column
            ids[i, width - len(p) :], attend[i, width - len(p) :] = torch.tensor(p), 1
        attend = attend.to(model.device)
        positions = (attend.cumsum(-1) - 1).clamp(min=0)
        more = {"past_key_values": growing_cache(model.config)} if self.shares else {}
        out = model(input_ids=ids.to(model.device), attention_mask=attend, position_ids=positions, use_cache=True,
                    logits_to_keep=1, **more)  # fmt: skip
        self.cache, logits, position = out.past_key_values, out.logits[:, -1], positions[:, -1]
        if self.shares:
            if n > 1:
                self.cache.batch_repeat_interleave(n)
            logits, attend, position = (x.repeat_interleave(n, 0) for x in (logits, attend, position))
        self.logits, self.attend, self.position = logits, attend, position
        self.here = torch.arange(len(logits), device=model.device)
        self.last = torch.full_like(self.here, pad)

    def keep(self, rows: Int[Tensor, "k"]) -> None:
        """Go on with these rows only."""
        if self.shares:
            self.cache.batch_select_indices(rows)
            self.attend, self.position, self.last = self.attend[rows], self.position[rows], self.last[rows]
            self.here = torch.arange(len(rows), device=rows.device)
        else:
            self.here = self.here[rows]

    def go_on(self, token: Int[Tensor, "k"]) -> Float[Tensor, "k v"]:
        """Logits after one more token of each row."""
        self.last[self.here] = token
        self.attend = torch.cat([self.attend, self.attend.new_ones(len(self.attend), 1)], 1)
        self.position = self.position + 1
        out = self.model(input_ids=self.last[:, None], attention_mask=self.attend, position_ids=self.position[:, None],
                         past_key_values=self.cache, use_cache=True)  # fmt: skip
        self.cache = out.past_key_values
        return out.logits[self.here, -1]


class _OwnCaches(_Cached):
    shares = False


class _Uncached:
    """Rows that are read anew for every token: for classes with another cache than keys and values, or none."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], n: int, pad: int) -> None:
        self.model, self.pad = model, pad
        self.rows = [list(p) for p in prompts for _ in range(n)]
        self.logits = self._read()

    def keep(self, rows: Int[Tensor, "k"]) -> None:
        self.rows = [self.rows[i] for i in rows.tolist()]

    def go_on(self, token: Int[Tensor, "k"]) -> Float[Tensor, "k v"]:
        for row, k in zip(self.rows, token.tolist(), strict=True):
            row.append(k)
        return self._read()

    def _read(self) -> Float[Tensor, "k v"]:
        """Right-padded: what stands behind a causal model's last token says nothing to it."""
        rows = [torch.tensor(r) for r in self.rows]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad)
        length = torch.tensor([len(r) for r in rows])
        attend = (torch.arange(ids.shape[1]) < length[:, None]).long()
        device = self.model.device
        logits = self.model(input_ids=ids.to(device), attention_mask=attend.to(device), use_cache=False).logits
        return logits[torch.arange(len(rows), device=device), (length - 1).to(device)]


_STREAMS: dict[Way, Callable[..., Any]] = {"shared": _Cached, "own": _OwnCaches, "none": _Uncached}


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
