"""CREAM: self-rewarding that trusts its labels as far as two versions of the model agree on them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from accord.algorithms.preference.dpo import DPO
from accord.algorithms.reference import Which
from accord.algorithms.rounds.trainer import Round, RoundMethod
from accord.elsewhere import filled
from accord.engine import Algorithm
from accord.errors import ConfigError, one_of, wanted
from accord.feedback import Comparison, prompt_of
from accord.losses import masked_sum
from accord.policies.base import Rollouts
from accord.policies.capabilities import Samples
from accord.rewards.reward import reward_columns

Trust = Literal["average", "each", "full"]
Measure = Literal["kendall", "spearman", "ends"]


class CREAM(RoundMethod):
    """``C (-log s(d)) + (1 - C) (-log s(-d))``, d DPO's margin, on the best and the worst of the policy's own answers by its implicit reward;
    C, in [0, 1], how far this policy and the last round's agree on the order of the answers (Wang et al. 2024, arXiv 2410.12735).

    The first round has no last one: there the answers' mean log-prob under `before` orders them.

    Args:
        before: the model before its supervised training, which the implicit reward compares with.
        rounds: how many. samples: answers to each prompt. sampling: how they are drawn.
        beta: of DPO and of the implicit reward.
        trust: "average", C is its mean over the round's prompts; "each", every pair has its own; "full", C = 1: plain self-rewarding.
        measure: of agreement: "kendall", "spearman", or "ends": 1 where both agree on the best and the worst, else 0.
        least: C is no less than this; below 1/2 a label is turned round, which is what the method states.
    """

    def __init__(self, policy: Samples, before: Which, *, rounds: int = 3, samples: int = 5, sampling: Any = None, beta: float = 0.1,
                 trust: Trust = "average", measure: Measure = "kendall", least: float = 0.0) -> None:  # fmt: skip
        super().__init__(policy, rounds)
        wanted(
            samples >= 2 and beta > 0 and 0 <= least <= 1,
            "CREAM wants samples >= 2, beta > 0, least in [0, 1]",
            (samples, beta, least),
        )
        one_of("trust", trust, "average", "each", "full")
        one_of("measure", measure, "kendall", "spearman", "ends")
        self.before: Any = policy.freeze(str(before)) if isinstance(before, str | Path) else before
        self.samples, self.sampling, self.beta = samples, filled(policy.sampling_kind(), sampling, "sampling"), beta
        self.trust, self.measure, self.least = trust, measure, least

    def build(self, now: Round, rows: Sequence[Any]) -> tuple[Algorithm, Sequence[Comparison]]:
        current = now.snapshots[-1]
        drawn = current.sample(
            [prompt_of(r) for r in rows], self.samples, self.sampling, seed=now.seed, context=reward_columns(rows)
        )
        ours, base = (likelihood(p, drawn) for p in (current, self.before))
        before = likelihood(now.snapshots[-2], drawn) - base if now.number else base / drawn.length.clamp(min=1)
        pairs = self.pairs(drawn, self.beta * (ours - base), before)
        return DPO(now.policy, beta=self.beta, reference=current, target="trust"), pairs  # type: ignore[arg-type]

    def pairs(self, drawn: Rollouts, reward: Float[Tensor, "n"], before: Float[Tensor, "n"]) -> list[Comparison]:
        """The best and the worst answer of each prompt, with how far their label is to be trusted.

        Raises:
            ConfigError: the policy is still what it was before.
        """
        if not reward.any():
            raise ConfigError("CREAM orders answers by how the policy differs from what it was before, but it does not yet: give the model before "
                              "its supervised training as `before`")  # fmt: skip
        prompts, found = drawn.prompt_of_each(), []
        for g in drawn.group.unique().tolist():
            rows = (drawn.group == g).nonzero()[:, 0]
            best, worst = (int(rows[i]) for i in (reward[rows].argmax(), reward[rows].argmin()))
            if reward[best] > reward[worst]:
                found.append((best, worst, agreement(reward[rows], before[rows], self.measure)))
        mean = sum(c for _, _, c in found) / max(1, len(found))
        trusts = {"average": lambda c: mean, "each": lambda c: c, "full": lambda c: 1.0}[self.trust]
        return [Comparison(prompt=prompts[b], chosen=drawn.completions[b], rejected=drawn.completions[w],
                           columns={"trust": max(self.least, trusts(c)), "agreement": c}) for b, w, c in found]  # fmt: skip


@torch.no_grad()
def likelihood(policy: Any, drawn: Rollouts) -> Float[Tensor, "n"]:
    """Log-prob of each answer, token for token as it was sampled, at temperature 1."""
    plain = (
        replace(drawn, sampling=replace(drawn.sampling, temperature=1.0))
        if hasattr(drawn.sampling, "temperature")
        else drawn
    )
    return masked_sum(policy.logprobs(plain).cpu(), drawn.mask, -1)


def agreement(a: Float[Tensor, "n"], b: Float[Tensor, "n"], measure: Measure = "kendall") -> float:
    """How far two orders of the same answers agree: 1 for the same, 0 for one turned round, 1/2 in the mean for unrelated ones.

    Kendall's tau or Spearman's rho, mapped from [-1, 1]; or whether both have the same best and worst.
    """
    if measure == "ends":
        return float(int(a.argmax()) == int(b.argmax()) and int(a.argmin()) == int(b.argmin()))
    if measure == "spearman":
        x, y = (v.argsort().argsort().float() for v in (a, b))
        x, y = x - x.mean(), y - y.mean()
        return float(((x * y).sum() / x.square().sum() + 1) / 2)
    same = [float(torch.sign((a[i] - a[j]) * (b[i] - b[j]))) for i, j in combinations(range(len(a)), 2)]
    return (sum(same) / len(same) + 1) / 2
