"""DR-IRL: rewards from demonstrations, and advantages scaled by how hard a prompt still is."""

import json
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.algorithms.rollout.credit import Term, clipped, group_mean
from accord.algorithms.rollout.grpo import GroupRelative
from accord.algorithms.rollout.trainer import Compared, Rollout
from accord.errors import ConfigError, wanted
from accord.policies.base import Rollouts
from accord.policies.capabilities import Samples
from accord.rewards import Reward, Scores


class DifficultyScaled:
    """A credit whose advantages are multiplied by ``alpha = s(delta_q) / s(delta_j) * s(R_P) / s(R_j)``: see `DRIRL`.

    Attributes:
        levels: of each category, the running means of distance and gap, and the gap's spread.
    """

    least_group = 2
    needs_critic = False

    def __init__(self, credit: GroupRelative, category: str = "category", *, outliers: float = 0.1, memory: float = 0.9,
                 bounds: tuple[float, float] = (0.5, 2.0)) -> None:  # fmt: skip
        wanted(0 <= outliers < 1 and 0 <= memory < 1 and 0 < bounds[0] <= 1 <= bounds[1],
               "difficulty wants outliers and memory in [0, 1), bounds around 1", (outliers, memory, bounds))  # fmt: skip
        self.credit, self.kl, self.category, self.outliers, self.memory, self.bounds = (
            credit,
            credit.kl,
            category,
            outliers,
            memory,
            bounds,
        )
        self.levels: dict[str, list[float]] = {}

    def __call__(self, scores: Scores, rollouts: Rollouts) -> list[Term]:
        alpha = self.difficulty(scores, rollouts)[:, None]
        return [Term(t.surrogate, t.advantage * alpha, t.weight, t.of) if getattr(t.surrogate, "func", t.surrogate) is clipped else t
                for t in self.credit(scores, rollouts)]  # fmt: skip

    def difficulty(self, scores: Scores, rollouts: Rollouts) -> Float[Tensor, "n"]:
        """alpha of each answer's prompt, a constant; above 1 where the policy is farther from the demonstrations than it mostly is.

        Raises:
            ConfigError: the reward tells no distance or gap.
        """
        if not {"distance", "gap"} <= scores.aspects.keys():
            raise ConfigError("DR-IRL wants a reward with distance and gap: use BesideDemonstrations(reward, encoder)")
        far, gap = (group_mean(scores.aspects[a].float(), rollouts.group, scores.valid) for a in ("distance", "gap"))
        kinds = [str(k) for k in rollouts.context.get(self.category, ["all"] * len(rollouts))]
        alpha = torch.ones(len(rollouts))
        for kind in dict.fromkeys(kinds):
            mine = torch.tensor([k == kind for k in kinds]) & scores.valid
            if bool(mine.any()):
                alpha[mine] = self._of_kind(kind, far[mine], gap[mine])
        return alpha

    def _of_kind(self, kind: str, far: Float[Tensor, "m"], gap: Float[Tensor, "m"]) -> Float[Tensor, "m"]:
        spread = float(gap.std(correction=0))
        seen = [float(far.mean()), float(gap.mean()), spread]
        now = [self.memory * o + (1 - self.memory) * x for o, x in zip(self.levels.get(kind, seen), seen, strict=True)]
        self.levels[kind] = now
        unit = max(now[2], 1e-6)
        keep = (gap - gap.mean()).square().argsort()[: len(gap) - int(self.outliers * len(gap))]
        harder = logsigmoid(gap[keep].mean() / unit) - logsigmoid(torch.tensor(now[1] / unit))
        farther = logsigmoid(far) - logsigmoid(torch.tensor(now[0]))
        return (farther + harder).exp().clamp(*self.bounds)

    def state(self) -> dict[str, Tensor]:
        return {"levels": torch.frombuffer(bytearray(json.dumps(self.levels).encode()), dtype=torch.uint8)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.levels = json.loads(bytes(state["levels"].tolist()).decode())


class DRIRL(Rollout):
    """``A_i = alpha(q) (R_i - mean) / std`` with the reward of the prompt's category, and ``alpha = s(delta_q)/s(delta_j) s(R_P)/s(R_j)``: how far
    the answers are from the demonstration of q beside what is usual in category j, times how far the demonstrations' reward is ahead,
    outliers left out, beside the usual (GRPO-S of DR-IRL, Cheng et al. 2025, arXiv 2503.18991).

    Args:
        reward: `BesideDemonstrations` of `routed("category", …)`: one reward for each category, each learned from demonstrations
            against the policy's own answers; see `irl_pairs`.
        category: column of the categories; without it all prompts are of one.
        outliers: share of a category's prompts whose gap counts for nothing, in [0, 1). memory: of the running means, in [0, 1).
        bounds: of alpha.
        kl: weight of the KL to the reference. clip: of the ratio.
    """

    def __init__(self, policy: Samples, reward: Reward, *, category: str = "category", outliers: float = 0.1, memory: float = 0.9,
                 bounds: tuple[float, float] = (0.5, 2.0), kl: float = 0.04, clip: float = 0.2, group_size: int = 8, sampling: Any = None,
                 **shared: Unpack[Compared]) -> None:  # fmt: skip
        credit = DifficultyScaled(GroupRelative(kl, clip), category, outliers=outliers, memory=memory, bounds=bounds)
        super().__init__(policy, reward, credit, group_size=group_size, sampling=sampling, **shared)
