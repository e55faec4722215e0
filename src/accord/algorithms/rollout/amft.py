"""AMFT: imitation and exploration in one loss, balanced by what would have helped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.algorithms.joint import Joint, Pieces, Stream
from accord.algorithms.rollout.grpo import GRPO
from accord.algorithms.rollout.rloo import RLOO
from accord.algorithms.supervised import Supervised
from accord.engine import Loss, Mean, Rows, Step
from accord.engine.seeds import derive, generator
from accord.errors import wanted
from accord.feedback import Example, rows_of
from accord.rewards import Reward
from accord.rewards.asking import Generative

Data = str | Path | Sequence[Any]


@dataclass
class Balance:
    """``mu <- clip(mu + rate <dU, g_RL - g_SFT> + pull (H* - H) / H*)``: the share of imitation.

    Attributes:
        mu: now. low, high: its bounds. rate: of the meta-gradient, a cosine in [-1, 1]. pull: of the entropy: where it has fallen
            below the target, imitation grows. target: H*, the entropy after the warm-up, in nats a token.
    """

    mu: float = 0.5
    low: float = 0.05
    high: float = 0.95
    rate: float = 0.03
    pull: float = 0.03
    target: float | None = None

    def __post_init__(self) -> None:
        wanted(
            0 <= self.low <= self.mu <= self.high <= 1, "the share of imitation wants 0 <= low <= mu <= high <= 1", self
        )

    def update(self, entropy: float, along: float = 0.0) -> None:
        """After a step's rollouts.

        Args:
            along: the meta-gradient, where there is one.
        """
        if self.target is None:
            self.target = entropy
        moved = self.mu + self.rate * along + self.pull * (self.target - entropy) / max(self.target, 1e-6)
        self.mu = min(self.high, max(self.low, moved))


class AMFT(Joint):
    """``(1 - mu) L_RL + mu L_SFT``, both by token, mu steered by two signals: whether more imitation in this very step would have raised the
    reward of other prompts, ``<dU, g_RL - g_SFT>``, and how far the policy's entropy is from what it was after a short imitation
    (He et al. 2025, arXiv 2508.06944).

    Args:
        reward: of exploration, and of the prompts that steer.
        demonstrations: examples to imitate; any data `fit` takes, or none: those that it explores on, which are examples then.
        steer: prompts on which it is tried what helps, which are training data by that; none: the entropy alone steers.
        mu: share of imitation at first. low, high: its bounds. rate: of the meta-gradient. pull: of the entropy.
        every: so many steps from one look ahead to the next. batch: so many of `steer` at a look; few rewards are mostly noise.
        warmup: so many steps of imitation alone.
        group_size: answers to each prompt. sampling: how they are drawn. clip: of the ratio.
    """

    def __init__(self, policy: Generative, reward: Reward, demonstrations: Data | None = None, steer: Data | None = None, *, mu: float = 0.5, low: float = 0.05,
                 high: float = 0.95, rate: float = 0.03, pull: float = 0.03, every: int = 5, batch: int = 16, warmup: int = 10,
                 group_size: int = 8, sampling: Any = None, clip: float = 0.2) -> None:  # fmt: skip
        wanted(
            min(every, batch) >= 1 and warmup >= 0,
            "AMFT wants every and batch >= 1, warmup >= 0",
            (every, batch, warmup),
        )
        explore = GRPO(policy, reward, clip=clip, group_size=group_size, sampling=sampling, normalise="tokens")
        super().__init__({"rl": Stream(explore), "sft": Stream(Supervised(policy), data=demonstrations)})
        self.balance = Balance(mu, low, high, rate, pull)
        self.steer = [] if steer is None else list(rows_of(steer))
        self.every, self.batch, self.warmup = every, batch, warmup
        self.ahead = [RLOO(policy, reward, kl=0.0, group_size=group_size, sampling=sampling)] if self.steer else []

    rows = (Example, *GRPO.rows)

    def experience(self, batch: Rows, step: Step) -> Pieces:
        if step.number < self.warmup:
            stream = self.streams["sft"]
            return Pieces({"sft": stream.algorithm.experience(self._rows(stream, batch, step, len(batch)), step)})
        pieces = super().experience(batch, step)
        drawn = pieces.parts["rl"].rollouts
        entropy = step.gather(Mean.of(-drawn.logprobs, drawn.mask))
        along = 0.0
        if self.ahead and (step.number - self.warmup) % self.every == 0:
            found = step.gather(self.look_ahead(pieces, step))
            along = sum(found) / len(found)
            step.log("helps", along)
        self.balance.update(sum(e.sum for e in entropy) / max(1.0, sum(e.weight for e in entropy)), along)
        step.log("mu", self.balance.mu)
        return pieces

    def forward(self, pieces: Pieces) -> Loss:
        shares = {"rl": 1 - self.balance.mu, "sft": self.balance.mu} if "rl" in pieces.parts else {"sft": 1.0}
        self.streams = {n: replace(s, weight=shares.get(n, 0.0)) for n, s in self.streams.items()}
        return super().forward(pieces)

    def look_ahead(self, pieces: Pieces, step: Step) -> float:
        """The cosine of dU with g_RL - g_SFT: above 0, more imitation would have helped. On this process's share of the batch."""
        g = generator(step.seed, step.number, step.rank, purpose="steer")
        some = Rows(self.steer[i] for i in torch.randperm(len(self.steer), generator=g)[: self.batch].tolist())
        tried = self.ahead[0].experience(some, replace(step, seed=derive(step.seed, purpose="ahead"), metrics={}))
        with torch.enable_grad():
            up = [-x for x in self._gradient(self.ahead[0](tried))]
            rl, sft = (list(self._gradient(self.algorithms[n](pieces.parts[n]))) for n in ("rl", "sft"))
        apart = [a - b for a, b in zip(rl, sft, strict=True)]
        dot, one, other = (
            sum(float((x * y).sum()) for x, y in zip(p, q, strict=True))
            for p, q in ((up, apart), (up, up), (apart, apart))
        )
        return dot / (one * other) ** 0.5 if one and other else 0.0

    def _gradient(self, loss: Loss) -> Iterator[Tensor]:
        weights = [p for p in self.policy.parameters() if p.requires_grad]
        found = torch.autograd.grad(loss.sum / max(loss.weight, 1.0), weights, allow_unused=True)
        return (torch.zeros_like(p) if f is None else f for p, f in zip(weights, found, strict=True))

    def state(self) -> dict[str, Tensor]:
        target = float("nan") if self.balance.target is None else self.balance.target
        return super().state() | {"balance": torch.tensor([self.balance.mu, target], dtype=torch.float64)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        super().load_state({k: v for k, v in state.items() if k != "balance"})
        self.balance.mu, target = state["balance"].tolist()
        self.balance.target = None if target != target else target
