"""DPA: one policy for all weights of several objectives, which are told to it as a direction."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.algorithms.rounds.trainer import Round, RoundMethod
from accord.algorithms.supervised import Supervised
from accord.elsewhere import filled
from accord.engine import Algorithm, derive
from accord.errors import ConfigError, wanted
from accord.feedback import Example, Prompt, instructed, prompt_of
from accord.policies.capabilities import Samples
from accord.rewards import Reward
from accord.rewards.combine import reward_of
from accord.rewards.reward import name_of, reward_columns, score_drawn

Tell = Callable[[Prompt, Sequence[str], Sequence[float]], Prompt]
"""A prompt, the aspects and their weights to a prompt that asks for them."""


class DPA(RoundMethod):
    """``-log pi(y* | x, v)``, ``y* = argmax_y v . r(x, y)`` among the policy's own answers, for random directions v, that the prompt tells:
    directional preference alignment by rejection sampling (Wang et al. 2024, arXiv 2402.18571). A user asks for a direction, and may ask
    for less of something.

    Each round starts from the policy as it was at first, and learns from the winners of all rounds so far.

    Args:
        reward: with named aspects, all on one scale: v means nothing where one of them varies more than the others.
        aspects: two of them: v = (cos a, sin a); none: those that the reward tells, where it tells two.
        angle: a is drawn from ±this, in degrees, in (0, 180].
        rounds: how many. samples: answers to each prompt, scored once for all directions. directions: of each prompt.
        sampling: how answers are drawn. tell: writes a direction into the prompt.
    """

    def __init__(self, policy: Samples, reward: Reward, aspects: tuple[str, str] | None = None, *, angle: float = 45.0, rounds: int = 4,
                 samples: int = 16, directions: int = 5, sampling: Any = None, tell: Tell | None = None) -> None:  # fmt: skip
        super().__init__(policy, rounds)
        wanted(0 < angle <= 180 and samples >= 2 and directions >= 1, "DPA wants an angle in (0, 180], samples >= 2, directions >= 1",
               (angle, samples, directions))  # fmt: skip
        self.reward, self.aspects, self.angle, self.samples, self.directions = (
            reward_of(reward),
            aspects,
            angle,
            samples,
            directions,
        )
        self.tell: Tell = tell or directed
        self.sampling = filled(policy.sampling_kind(), sampling, "sampling")

    def build(self, now: Round, rows: Sequence[Any]) -> tuple[Algorithm, Sequence[Example]]:
        won = [*(now.earlier[-1] if now.earlier else ()), *self.winners(now, rows)]
        now.snapshots[0].put_back(now.policy)
        return Supervised(now.policy), won  # type: ignore[arg-type]

    def winners(self, now: Round, rows: Sequence[Any]) -> list[Example]:
        """The best answer to each prompt in each of its directions, where it is the only one."""
        drawn_for = [
            (row, self._direction(now.seed, i, j)) for i, row in enumerate(rows) for j in range(self.directions)
        ]
        if now.number == 0:  # who knows no directions yet answers once for all of them
            asked, of = list(rows), [i for i in range(len(rows)) for _ in range(self.directions)]
            prompts = [prompt_of(r) for r in rows]
        else:
            asked, of = [row for row, _ in drawn_for], list(range(len(drawn_for)))
            prompts = [self.tell(prompt_of(row), self._names(), v) for row, v in drawn_for]
        drawn = now.snapshots[-1].sample(
            prompts, self.samples, self.sampling, seed=now.seed, context=reward_columns(asked)
        )
        said = score_drawn(self.reward, drawn, now.snapshots[-1])
        names = self._names(said.aspects)
        table = torch.stack([said.aspects[a] for a in names], -1).float()
        won = []
        for (row, v), at in zip(drawn_for, of, strict=True):
            mine = ((drawn.group == at) & said.valid).nonzero()[:, 0]
            if len(mine) and (best := winner(table[mine], torch.tensor(v))) is not None:
                won.append(
                    Example(prompt=self.tell(prompt_of(row), names, v), completion=drawn.completions[int(mine[best])])
                )
        return won

    def _names(self, told: Mapping[str, Any] = {}) -> tuple[str, str]:
        """Of both aspects, once the reward has told its own."""
        if self.aspects is None and len(told) == 2:
            one, other = told
            self.aspects = one, other
        if self.aspects is None or any(a not in told for a in self.aspects if told):
            odd = "two aspects" if self.aspects is None else f"the aspects {' and '.join(self.aspects)}"
            raise ConfigError(f"DPA goes by {odd}, but {name_of(self.reward)} tells {', '.join(told) or 'none'}")
        return self.aspects

    def _direction(self, seed: int, prompt: int, j: int) -> tuple[float, float]:
        return direction(Random(derive(seed, prompt, j, purpose="direction")).uniform(-self.angle, self.angle))


def winner(rewards: Float[Tensor, "n k"], v: Float[Tensor, "k"]) -> int | None:
    """The one with the highest ``v . r``; None where several share it, as all would say the same."""
    worth = rewards @ v
    best = int(worth.argmax())
    return best if int((worth == worth[best]).sum()) == 1 or len(worth) == 1 else None


def direction(degrees: float) -> tuple[float, float]:
    """(cos, sin) of an angle."""
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))


def directed(prompt: Prompt, aspects: Sequence[str], v: Sequence[float]) -> Prompt:
    """The prompt with a direction: weights in hundredths, in a conversation as its system message, in a text before it."""
    text = f"Maximise {' + '.join(f'{round(100 * w)} * {a}' for a, w in zip(aspects, v, strict=True))}."
    return instructed(prompt, text)


def read_direction(text: str) -> dict[str, float]:
    """The weights that `directed` wrote."""
    found = re.search(r"Maximise (.+?)\.(?:\s|$)", text)
    return {a: int(w) / 100 for w, a in re.findall(r"(-?\d+) \* ([\w-]+)", found.group(1))} if found else {}
