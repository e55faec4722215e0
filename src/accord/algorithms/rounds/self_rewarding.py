"""Self-rewarding: a policy's answers are its data, and its own judgement (or a reward's) their labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from accord.algorithms.preference.dpo import DPO
from accord.algorithms.rounds.trainer import Round, RoundMethod
from accord.elsewhere import filled
from accord.engine import Algorithm, derive
from accord.errors import wanted
from accord.feedback import Comparison, Provenance, prompt_of
from accord.policies.base import Rollouts
from accord.rewards import Judge, PolicyJudge, Reward, Scores
from accord.rewards.asking import Generative
from accord.rewards.reward import reward_columns, score_drawn

Judges = Callable[[Any], Reward]
"""A frozen policy to the reward that it is as a judge."""


def by_rubric(policy: Any) -> Reward:
    """The policy asked for a number from 1 to 10, three times."""
    return Judge(PolicyJudge(policy), tries=3)


@dataclass(frozen=True)
class Pool:
    """Scored answers of one snapshot."""

    source: str
    drawn: Rollouts
    scores: Scores

    def extreme(self, prompt: int, sign: int) -> tuple[float, Any] | None:
        """The value and the text of a prompt's best (1) or worst (-1) answer; None where none could be judged."""
        rows = ((self.drawn.group == prompt) & self.scores.valid).nonzero()[:, 0].tolist()
        if not rows:
            return None
        i = max(rows, key=lambda i: sign * float(self.scores.values[i]))
        return float(self.scores.values[i]), self.drawn.completions[i]


class SelfRewarding(RoundMethod):
    """Each round the policy answers, the best and the worst of its answers by its own judgement become a pair, and DPO learns from them
    (Yuan et al. 2024, arXiv 2401.10020).

    Args:
        reward: judges the answers in place of the policy itself.
        judge: how the policy judges: a frozen policy to a reward.
        rounds: how many. samples: answers to each prompt. sampling: how they are drawn. beta: of DPO.
    """

    def __init__(self, policy: Generative, reward: Reward | None = None, *, judge: Judges = by_rubric, rounds: int = 3, samples: int = 4,
                 sampling: Any = None, beta: float = 0.1) -> None:  # fmt: skip
        super().__init__(policy, rounds)
        wanted(samples >= 2 and beta > 0, f"{type(self).__name__} wants samples >= 2 and beta > 0", (samples, beta))
        self.reward, self.judge, self.samples, self.beta = reward, judge, samples, beta
        self.sampling = filled(policy.sampling_kind(), sampling, "sampling")

    def build(self, now: Round, rows: Sequence[Any]) -> tuple[Algorithm, Sequence[Comparison]]:
        mine = self.pool(now, "now", now.snapshots[-1], rows)
        return self.learner(now), self.pairs(rows, [mine], [mine])

    def learner(self, now: Round) -> Algorithm:
        """What learns from a round's pairs: DPO against the policy as the round finds it."""
        return DPO(now.policy, beta=self.beta, reference=now.snapshots[-1])  # type: ignore[arg-type]

    def pool(self, now: Round, source: str, policy: Any, rows: Sequence[Any]) -> Pool:
        """Answers of a policy, as the round's own policy (or the reward) judges them; each source has draws of its own."""
        seed = derive(now.seed, purpose=source) % 2**31
        drawn = policy.sample([prompt_of(r) for r in rows], self.samples, self.sampling, seed=seed, context=reward_columns(rows))  # fmt: skip
        judge = self.reward if self.reward is not None else self.judge(now.snapshots[-1])
        return Pool(source, drawn, score_drawn(judge, drawn, policy))

    def pairs(self, rows: Sequence[Any], chosen: Sequence[Pool], rejected: Sequence[Pool]) -> list[Comparison]:
        """For each prompt the best of the one and the worst of the other, where they are apart. The first pool wins ties."""
        made = []
        for i, row in enumerate(rows):
            best = _first([(p, e) for p in chosen if (e := p.extreme(i, 1)) is not None], 1)
            worst = _first([(p, e) for p in rejected if (e := p.extreme(i, -1)) is not None], -1)
            if best is not None and worst is not None and best[1][0] > worst[1][0]:
                made.append(Comparison(prompt=prompt_of(row), chosen=best[1][1], rejected=worst[1][1], strength=best[1][0] - worst[1][0],
                                       provenance=Provenance(source=f"{best[0].source} over {worst[0].source}", tries=self.samples)))  # fmt: skip
        return made


def _first(found: list[tuple[Pool, tuple[float, Any]]], sign: int) -> tuple[Pool, tuple[float, Any]] | None:
    return max(found, key=lambda f: sign * f[1][0], default=None)
