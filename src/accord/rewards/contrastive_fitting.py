"""A reward model whose features of better and worse answers come apart."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout

from accord import losses
from accord.engine import Loss, Mean, Rows
from accord.engine.seeds import seeded
from accord.errors import ConfigError, one_of, wanted
from accord.feedback import Comparison
from accord.policies.base import Group
from accord.policies.meter import count
from accord.rewards.classifier import BradleyTerry
from accord.rewards.fitting import FitOptions, RewardFitting
from accord.rewards.heads import HeadReward

TEMPERATURES = {"simcse": 0.05, "swav": 0.1}


class ContrastiveFitting(RewardFitting):
    """``L_rm + beta L_cl`` over two dropout views of what the reward's last layer reads, the plain loss on both views (the contrastive part of
    Secrets of RLHF II, Wang et al. 2024, arXiv 2401.06080).

    Views are drawn of the pooled features: many language models have no dropout of their own. What is contrasted are the comparisons of one forward
    pass, so a micro-batch has fewer of them.

    Args:
        reward: a `BradleyTerry`, or a `HeadReward` with a hidden layer. of: difference contrasts f_c - f_r and f_r - f_c of each pair, plain f_c and f_r.
        how: simcse or swav. beta: weight of the contrast, at least 0; the paper has 1 for SimCSE, 0.1 (plain) and 0.5 (difference) for SwAV.
        rate: of dropout, in (0, 1). prototypes: of SwAV; the paper has 50 (plain) and 20 (difference).
    """

    rows = (Comparison,)  # type: ignore[assignment]

    def __init__(self, reward: Any, options: FitOptions = FitOptions(), *, of: str = "difference", how: str = "simcse", beta: float = 1.0,
                 rate: float = 0.05, prototypes: int = 20, seed: int = 0) -> None:  # fmt: skip
        super().__init__(reward, options)
        one_of("of", of, "difference", "plain")
        one_of("how", how, "simcse", "swav")
        wanted(beta >= 0 and 0 < rate < 1 and prototypes >= 1, "contrasting wants beta >= 0, rate in (0, 1), prototypes >= 1", (beta, rate, prototypes))  # fmt: skip
        self.of, self.how, self.beta, self.rate = of, how, beta, rate
        with seeded(seed, purpose="prototypes"):
            self.prototypes = (
                nn.Linear(last_layer(reward).in_features, prototypes, bias=False) if how == "swav" else None
            )

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"reward": self.reward, **({"prototypes": self.prototypes} if self.prototypes else {})}

    def forward(self, rows: Rows) -> Loss:
        read = pooled(self.reward, [Group(r.prompt, (r.chosen, r.rejected)) for r in rows])
        views = [dropout(read, self.rate) for _ in "st"]
        last = last_layer(self.reward)
        count(last, len(read), backward=True)  # of the second view: what reads the first has told of all its layers
        values = [last(v).float().reshape(len(rows), 2, -1) for v in views]
        plain = torch.stack([self._comparisons(list(rows), list(v)) for v in values]).mean(0).sum()
        contrast = self.contrast(*views).sum() / 2  # two things of each pair
        lead = (values[0][:, 0] - values[0][:, 1]).mean(-1)
        metrics = {
            "accuracy": Mean.of((lead > 0).float()),
            "margin": Mean.of(lead),
            "contrast": Mean(float(contrast.detach()), len(rows)),
        }
        return Loss(plain + self.beta * contrast, float(len(rows)), metrics)

    def contrast(self, one: Float[Tensor, "m d"], other: Float[Tensor, "m d"]) -> Float[Tensor, "m"]:
        """L_cl of each thing that is contrasted."""
        s, t = (_things(view.float(), self.of) for view in (one, other))
        if self.prototypes is None:
            return losses.simcse(s, t, TEMPERATURES["simcse"])
        count(self.prototypes, 2 * len(s), backward=True)
        return losses.swav(s, t, self.prototypes.weight, TEMPERATURES["swav"])


def _things(view: Float[Tensor, "m d"], of: str) -> Float[Tensor, "m d"]:
    if of == "plain":
        return view
    lead = view[0::2] - view[1::2]
    return torch.cat([lead, -lead])


def pooled(reward: Any, groups: Sequence[Group]) -> Float[Tensor, "n d"]:
    """What a reward's last layer reads of every completion, group by group, with gradient."""
    if isinstance(reward, HeadReward):
        rows = reward.features(
            [g.prompt for g in groups for _ in g.completions], [c for g in groups for c in g.completions]
        )
        count(reward.head, len(rows), backward=torch.is_grad_enabled())
        return reward.head[:-1](rows.to(next(reward.head.parameters())))  # type: ignore[index]
    tree = reward.tree(groups)
    return reward.hidden(tree)[tree.last.to(reward.device)]


def last_layer(reward: Any) -> nn.Linear:
    """Raises ConfigError where nothing that trains lies below it."""
    if isinstance(reward, HeadReward) and reward.hidden:
        return reward.head[-1]  # type: ignore[index]
    if isinstance(reward, BradleyTerry) and not reward.encodes:
        score: Any = reward.core.score
        return score
    raise ConfigError(
        "a contrast teaches what lies below the last layer: take a HeadReward with a hidden layer, or a BradleyTerry that reads a decoder's last token"
    )
