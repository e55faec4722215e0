"""Several Gaussian opinions of one reward, and a reward that trusts the surest but fears the worst."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.engine import Learner, Loss, Mean, Rows, Step, fit
from accord.engine.batch import Batch
from accord.engine.seeds import generator, of_rows, seeded
from accord.errors import ConfigError, FeedbackError, one_of, wanted
from accord.feedback import Comparison, Example, Prompt
from accord.rewards.features import Features
from accord.rewards.heads import HeadReward, mlp
from accord.rewards.reward import Reward, score
from accord.rewards.saved import Saved
from accord.rewards.scores import Scores

log = logging.getLogger(__name__)

FLOOR = 1e-3
"""No head is surer than this."""
ALIKE = 0.99
"""Correlation of heads beyond which all of them are one."""


class BayesianEnsemble(Saved):
    """``(1 - w) mu_i* + w min_i mu_i``: the mean of the head that is surest of an answer, mixed with the worst mean (BRME of Reward-Robust
    RLHF, Yan et al. 2024, arXiv 2409.15360). Heads are Gaussians on frozen features, taught the values of an ordinary reward, each on a bootstrap
    of its own of the answers: heads that have seen the same agree, and the worst of them protects from nothing.

    w = 0 is the plain reward of the surest head; towards 1 a policy learns slower and can't be led astray. (The paper's formula puts its
    coefficient on the other term than its text does; here it is the weight of the worst case.)

    Args:
        features: of the trunk under the ordinary reward (`TrunkFeatures`), or any others. heads: n. hidden: width of each head's hidden
            layer; 0 for linear ones. robust: w in [0, 1].
        worst: sample takes the worst head of each answer, batch the one that is worst over all answers that are scored together:
            ``E[min_i r_i] <= min_i E[r_i]``, so the former is the stricter bound.
    """

    def __init__(
        self,
        features: Features,
        *,
        heads: int = 5,
        hidden: int = 0,
        robust: float = 0.4,
        worst: str = "sample",
        seed: int = 0,
    ) -> None:
        super().__init__()
        wanted(heads >= 1 and 0 <= robust <= 1, "an ensemble wants heads >= 1 and robust in [0, 1]", (heads, robust))
        one_of("worst", worst, "sample", "batch")
        self.features, self.hidden, self.robust, self.worst, self.seed = features, hidden, robust, worst, seed
        with seeded(seed, purpose="heads"):
            self.heads = nn.ModuleList(mlp(features.width, 2, *([hidden] if hidden else [])) for _ in range(heads))
        self.taught: Tensor
        self.register_buffer("taught", torch.zeros(2))  # mean and spread of what it was taught

    @property
    def settings(self) -> dict[str, Any]:
        return {"heads": len(self.heads), "hidden": self.hidden, "robust": self.robust, "worst": self.worst}

    @classmethod
    def fit(cls, records: Sequence[Comparison], features: Features, *, heads: int = 5, hidden: int = 0, robust: float = 0.4,
            worst: str = "sample", **training: Any) -> "BayesianEnsemble":  # fmt: skip
        """Both stages: an ordinary head on comparisons, which then teaches the ensemble its values of their answers."""
        ordinary = HeadReward(features, hidden=hidden, seed=training.get("seed", 0)).fitted(records, **training)
        made = cls(features, heads=heads, hidden=hidden, robust=robust, worst=worst, seed=training.get("seed", 0))
        answers = [c for p in records for c in (p.chosen, p.rejected)]
        return made.taught_by(ordinary, [p.prompt for p in records for _ in "cr"], answers, **training)

    def opinions(
        self, prompts: Sequence[Prompt], completions: Sequence[Any]
    ) -> tuple[Float[Tensor, "n h"], Float[Tensor, "n h"]]:
        """Mean and standard deviation of every head, in units of the spread of what they were taught."""
        rows = self.features(prompts, completions).to(next(self.heads.parameters()))
        said = torch.stack([head(rows) for head in self.heads], 1).float()
        return said[..., 0], nn.functional.softplus(said[..., 1]) + FLOOR

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], **columns: Any) -> Scores:
        """Values of the mixture, with the surest head's deviation and all means as members. Raises ConfigError before it was taught."""
        if not float(self.taught[1]):
            raise ConfigError("this ensemble knows nothing yet: teach it a reward first (taught_by)")
        means, deviations = (x.cpu() for x in self.opinions(prompts, completions))
        centre, spread = self.taught.cpu()
        surest = deviations.argmin(1, keepdim=True)
        values = mixed(means, surest, self.robust, self.worst)
        return Scores.of(
            values * spread + centre, std=deviations.gather(1, surest)[:, 0] * spread, members=means * spread + centre
        )

    def taught_by(
        self, reward: Reward, prompts: Sequence[Prompt], completions: Sequence[Any], **training: Any
    ) -> "BayesianEnsemble":
        """Teach the heads an ordinary reward's values of these answers, those that it applies to, standardised; returns itself.

        Raises:
            FeedbackError: the reward says the same of all of them.
        """
        scores = score(reward, prompts=prompts, completions=completions, batch_size=64)
        known = scores.valid.nonzero()[:, 0].tolist()
        said = scores.values.detach().cpu()[known]
        if len(said) < 2 or not float(said.std()):
            raise FeedbackError("the reward says the same of all answers: there is nothing to teach")
        self.taught.copy_(torch.stack([said.mean(), said.std()]))
        values = ((said - said.mean()) / said.std()).tolist()
        times = self._bootstraps(len(known)).tolist()
        rows = [
            Example(prompt=prompts[i], completion=completions[i], columns={"value": v, "times": t})
            for i, v, t in zip(known, values, times, strict=True)
        ]
        fit(HeadTeaching(self), rows, **{"lr": 1e-2, "batch_size": 64, "epochs": 20, "progress": False, **training})
        self._warn([r.prompt for r in rows], [r.completion for r in rows])
        return self

    def _bootstraps(self, n: int) -> Float[Tensor, "n h"]:
        """How often each head's bootstrap of n answers holds each of them; one head alone sees all of them once."""
        heads = len(self.heads)
        if heads == 1:
            return torch.ones(n, 1)
        drawn = torch.randint(n, (heads, n), generator=generator(self.seed, purpose="bootstrap"))
        return torch.stack([torch.bincount(d, minlength=n) for d in drawn], 1).float()

    @torch.no_grad()
    def _warn(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> None:
        means, _ = self.opinions(prompts, completions)
        alike = float(torch.corrcoef(means.T).mean()) if len(self.heads) > 1 else 0.0
        if alike > ALIKE:
            log.warning("the heads of this ensemble agree (mean correlation %.4f): the worst of them is hardly a warning; "
                        "give them more features, a hidden layer or fewer epochs", alike)  # fmt: skip


def mixed(means: Float[Tensor, "n h"], surest: Tensor, robust: float, worst: str) -> Float[Tensor, "n"]:
    """``(1 - w) mu_i* + w mu_worst``.

    Args:
        surest: [n, 1], the head that is surest of each answer. robust: w. worst: the least head of each sample, or of the batch.
    """
    least = means.min(1).values if worst == "sample" else means[:, means.mean(0).argmin()]
    return (1 - robust) * means.gather(1, surest)[:, 0] + robust * least


@dataclass(frozen=True)
class Lessons(Batch):
    """Answers with the values to be learned, how often each head's bootstrap holds them, and each head's noise."""

    prompts: list[Prompt]
    completions: list[Any]
    values: Float[Tensor, "n"]
    times: Float[Tensor, "n h"]
    noise: Float[Tensor, "n h"]


class HeadTeaching(Learner):
    """``mean_i (mu_i + s_i e_i - r)^2`` of draws e ~ N(0, 1): in expectation ``(mu_i - r)^2 + s_i^2``, so a head becomes sure as fast as
    it is right. An answer counts as often as a head's bootstrap holds it (`times`)."""

    rows = (Example,)

    def __init__(self, ensemble: BayesianEnsemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"ensemble": self.ensemble}

    def experience(self, batch: Rows, step: Step) -> Lessons:
        heads = len(self.ensemble.heads)
        seeds = step.seeds(len(batch), purpose="opinions")
        noise = of_rows(lambda n, g: torch.randn(n, heads, generator=g), seeds, len(batch), "opinions")
        values = torch.tensor([float(r.columns["value"]) for r in batch])
        times = torch.tensor([r.columns["times"] for r in batch])
        return Lessons([r.prompt for r in batch], [r.completion for r in batch], values, times, noise)

    def forward(self, lessons: Lessons) -> Loss:
        means, deviations = self.ensemble.opinions(lessons.prompts, lessons.completions)
        error = means + deviations * lessons.noise.to(means.device) - lessons.values.to(means.device)[:, None]
        metrics = {"deviation": Mean.of(deviations), "spread": Mean.of(means.std(1, unbiased=False))}
        return Loss(
            (lessons.times.to(means.device) * error.square()).mean(1).sum(), float(len(lessons.values)), metrics
        )
