"""SCIR: rounds on answers that nobody labels but the policy's own opinions, where those agree."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord.algorithms.preference.self_consistency import SelfConsistency
from accord.algorithms.reference import Which
from accord.algorithms.rounds.trainer import Round, RoundMethod
from accord.elsewhere import filled
from accord.engine import Algorithm
from accord.errors import wanted
from accord.feedback import Comparison, Provenance, prompt_of
from accord.rewards.asking import Generative
from accord.rewards.judge import COMPARE, Template
from accord.rewards.reward import reward_columns


class SCIR(RoundMethod):
    """Each round the policy answers, and learns from pairs of its answers by the opinions that it has of them itself, as a judge and by its
    implicit reward: ``1[all agree] (-log s(beta d)) + weight (divergence of the opinions + eta their entropy)``, d DPO's margin to the
    round's start (self-consistent internal rewards, Zhou et al. 2025, arXiv 2502.08922). See `SelfConsistency`.

    Args:
        before: a model before any training on preferences, which the implicit reward compares with.
        rounds: how many. samples: answers to each prompt, every two of which are a pair; even. sampling: how they are drawn.
        beta: of DPO. sharpness: of the implicit reward, on mean log-ratios by token.
        weight: of the inconsistency. eta: of the entropy in it.
        template, labels: how the policy is asked as a judge; see `PairJudge`.
    """

    def __init__(self, policy: Generative, before: Which, *, rounds: int = 2, samples: int = 4, sampling: Any = None, beta: float = 0.1,
                 sharpness: float = 1.0, weight: float = 1.0, eta: float = 0.1, template: Template = COMPARE,
                 labels: tuple[str, str] = ("A", "B")) -> None:  # fmt: skip
        super().__init__(policy, rounds)
        wanted(samples >= 2 and samples % 2 == 0, "SCIR wants an even number of samples", samples)
        self.before: Any = policy.freeze(str(before)) if isinstance(before, str | Path) else before
        self.samples, self.sampling = samples, filled(policy.sampling_kind(), sampling, "sampling")
        self.options = {
            "beta": beta,
            "sharpness": sharpness,
            "weight": weight,
            "eta": eta,
            "template": template,
            "labels": labels,
        }

    def build(self, now: Round, rows: Sequence[Any]) -> tuple[Algorithm, Sequence[Comparison]]:
        current = now.snapshots[-1]
        drawn = current.sample(
            [prompt_of(r) for r in rows], self.samples, self.sampling, seed=now.seed, context=reward_columns(rows)
        )
        prompts, said = drawn.prompt_of_each(), drawn.completions
        pairs = [Comparison(prompt=prompts[i], chosen=said[i], rejected=said[i + 1], provenance=Provenance(source="unlabelled", tries=self.samples))
                 for i in range(0, len(said), 2) if said[i] != said[i + 1]]  # fmt: skip
        return SelfConsistency(now.policy, self.before, reference=current, **self.options), pairs  # type: ignore[arg-type]
