"""A reward model that goes on telling answers apart once the policy has moved."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from accord.engine import Loss, Rows, Step
from accord.engine.seeds import generator
from accord.errors import FeedbackError, wanted
from accord.feedback import Prompt
from accord.policies.base import Group
from accord.policies.capabilities import Samples
from accord.policies.trunk import Trunk
from accord.rewards.fitting import FitOptions, RewardFitting


class MetaFitting(RewardFitting):
    """``theta' = theta + eta grad J(theta)``, ``theta <- theta - alpha grad L(theta')``: the pairs' gradient is taken where the answers of the policy as
    it is now lie further apart (MetaRM of Secrets of RLHF II, Wang et al. 2024, arXiv 2401.06080).

    ``J = (2 / k^2) sum_{i<j} s(|r_i - r_j|)``, averaged over prompts, wants no labels. Of first order: nothing is differentiated through theta'. To
    second order in eta the step is that of ``grad L + eta H_L grad J``. J raises any spread, right or wrong; the pairs hold it, so keep eta small.

    Args:
        shifted: prompts with answers of the policy as it is now, equally many each (`answers_of`). eta: at least 0; in the paper 1 to 10 times the learning rate. It multiplies
            a gradient and not Adam's step: where gradients are small, as those of a head on normed features, it wants far more.
        prompts: of them in each step.
    """

    def __init__(
        self,
        reward: Any,
        shifted: Sequence[Group],
        options: FitOptions = FitOptions(),
        *,
        eta: float = 1e-2,
        prompts: int = 8,
    ) -> None:
        super().__init__(reward, options)
        wanted(eta >= 0 and prompts >= 1, "meta-learning wants eta >= 0 and at least one prompt", (eta, prompts))
        sizes = sorted({len(g.completions) for g in shifted})
        if len(sizes) != 1 or sizes[0] < 2:
            raise FeedbackError(
                f"meta-learning wants prompts with equally many answers, at least 2, but they have {sizes}"
            )
        self.shifted, self.eta, self.prompts = list(shifted), eta, prompts
        self._plain = [RewardFitting(reward, options)]  # in a list: no second owner of the reward
        self._ahead: dict[str, Tensor] = {}

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "eta": self.eta, "prompts": self.prompts}

    def check(self, rows: Sequence[Any]) -> None:
        """As `RewardFitting`; refuses answers of the policy that the reward's model can't take, too."""
        super().check(rows)
        if isinstance(self.reward, Trunk):
            self.reward.check(self.shifted)

    def experience(self, batch: Rows, step: Step) -> Rows:
        """The pairs, with the step ahead that their gradient is taken after: of all their minibatches, and of each time they are gone through."""
        order = torch.randperm(
            len(self.shifted), generator=generator(step.seed, step.number, step.rank, purpose="meta")
        )
        weights = {n: p for n, p in self.reward.named_parameters() if p.requires_grad}
        with torch.enable_grad():
            spread = difference(self._values([self.shifted[i] for i in order[: self.prompts].tolist()])).mean()
            slopes = torch.autograd.grad(spread, list(weights.values()), allow_unused=True)
        step.log("difference", spread.detach())
        self._ahead = {n: self.eta * g for n, g in zip(weights, slopes, strict=True) if g is not None}
        return batch

    def forward(self, rows: Rows) -> Loss:
        here = dict(self.reward.named_parameters())
        there = {f"reward.{n}": here[n] + ahead for n, ahead in self._ahead.items()}
        return functional_call(self._plain[0], there, (rows,))

    def _values(self, groups: Sequence[Group]) -> Float[Tensor, "m k"]:
        return self.reward.values_of(groups).mean(-1).reshape(len(groups), -1)


def difference(values: Float[Tensor, "m k"]) -> Float[Tensor, "m"]:
    """``(2 / k^2) sum_{i<j} s(|r_i - r_j|)``, in [(k-1)/(2k), (k-1)/k): how far k answers of a prompt lie apart."""
    k = values.shape[1]
    i, j = torch.triu_indices(k, k, 1, device=values.device)
    return 2 / k**2 * torch.sigmoid((values[:, i] - values[:, j]).abs()).sum(1)


def answers_of(
    policy: Samples, prompts: Sequence[Prompt], k: int = 4, sampling: Any = None, *, seed: int = 0
) -> list[Group]:
    """k answers of a policy to each prompt, unlabelled; prompts to which it always says the same are left out: they carry no signal."""
    drawn = policy.sample(prompts, k, policy.sampling_kind() if sampling is None else sampling, seed=seed)
    groups = [Group(p, tuple(drawn.completions[i * k : i * k + k])) for i, p in enumerate(prompts)]
    return [g for g in groups if len({str(c) for c in g.completions}) > 1]
