"""A reward as the referee of pairs: by how much it puts one answer before the other, whichever is shown first."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from accord.engine.store import Blobs
from accord.feedback import Comparison, Prompt, picture_key, prompt_key
from accord.rewards.reward import Reward, name_of, reward_columns, score
from accord.rewards.scores import Scores

SURE = 1e-8
"""A judge's probabilities are kept so far from 0 and 1: log-odds are finite."""

Tick = Callable[[int], None]
"""Told how many pairs were done."""


@runtime_checkable
class Compares(Protocol):
    """A judge that is shown two answers at once (`PairJudge`): how sure it is of the first, NaN where it says nothing."""

    def first_wins(self, prompts: Sequence[Prompt], first: Sequence[Any], second: Sequence[Any]) -> Tensor: ...


class Referee:
    """The lead of each chosen answer over the rejected one: a difference of scores, or the log-odds of a judge of pairs.

    Which of the two is shown first is a coin of the pair's content, so that a liking for a place helps neither; where `both` is
    set, each pair is shown in both orders and the mean counts.

    Args:
        reward: any reward, or a judge of pairs. batch_size: pairs at once. tick: told of pairs as they are done.
    """

    def __init__(self, reward: Reward | Compares, *, batch_size: int = 16, tick: Tick = lambda n: None) -> None:
        self.reward, self.name, self.batch_size, self.tick = reward, name_of(reward), batch_size, tick
        self.both = False

    def __call__(self, pairs: Sequence[Comparison]) -> Float[Tensor, "n"]:
        """Leads, NaN where the reward doesn't apply to one of the answers."""
        there = self.shown(pairs)
        return (there + self.shown(pairs, swapped=True)) / 2 if self.both else there

    @torch.no_grad()
    def shown(self, pairs: Sequence[Comparison], *, swapped: bool = False) -> Float[Tensor, "n"]:
        """Leads in the one order that the coin says, or in the other one. A pair that comes twice is asked about once."""
        keys = [_key(p) for p in pairs]
        unique = list(dict(zip(keys, pairs, strict=True)).items())
        parts = []
        for i in range(0, len(unique), self.batch_size):
            some = unique[i : i + self.batch_size]
            parts.append(self._leads([p for _, p in some], [_coin(k) != swapped for k, _ in some]))
            self.tick(len(some))
        known = dict(zip((k for k, _ in unique), torch.cat(parts).tolist() if parts else [], strict=True))
        return torch.tensor([known[k] for k in keys], dtype=torch.float64)

    def _leads(self, pairs: Sequence[Comparison], chosen_first: Sequence[bool]) -> Float[Tensor, "n"]:
        shown = [
            (p.chosen, p.rejected) if c else (p.rejected, p.chosen) for p, c in zip(pairs, chosen_first, strict=True)
        ]
        sign = torch.tensor([1.0 if c else -1.0 for c in chosen_first], dtype=torch.float64)
        if isinstance(self.reward, Compares):
            found = self.reward.first_wins([p.prompt for p in pairs], [a for a, _ in shown], [b for _, b in shown])
            return sign * torch.logit(found.detach().double().cpu(), SURE)
        rows = [p for p in pairs for _ in shown[0]]
        said = score(self.reward, prompts=[r.prompt for r in rows], completions=[a for both in shown for a in both],
                     group=[i for i in range(len(pairs)) for _ in shown[0]], **reward_columns(rows))  # type: ignore[arg-type]  # fmt: skip
        values = known_values(said)
        return sign * (values[0::2] - values[1::2])


def known_values(said: Scores) -> Float[Tensor, "n"]:
    """Values of scores, NaN where the reward doesn't apply."""
    return said.values.detach().double().cpu().masked_fill(~said.valid.cpu(), torch.nan)


def chosen_first(pair: Comparison) -> bool:
    """The coin of a pair's content."""
    return _coin(_key(pair))


def fingerprint_of(pairs: Sequence[Comparison]) -> str:
    """How many pairs, and a hash of all of them in their order."""
    return f"{len(pairs)} pairs, {Blobs.key([_key(p).hex() for p in pairs]).hex()[:16]}"


def _coin(key: bytes) -> bool:
    return key[0] % 2 == 0


def _key(pair: Comparison) -> bytes:
    columns = {k: picture_key(v) for k, v in pair.columns.items()}
    return Blobs.key(prompt_key(pair.prompt), picture_key(pair.chosen), picture_key(pair.rejected), columns)
