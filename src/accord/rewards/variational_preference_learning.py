"""People differ: a hidden vector of each person, read off a few of their verdicts, goes into the reward."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord import losses
from accord.engine import Learner, Loss, Mean, Rows, Step, fit
from accord.engine.seeds import generator, of_rows, seeded
from accord.errors import ConfigError, FeedbackError, wanted
from accord.feedback import Comparison, InContext, Prompt, in_context
from accord.rewards.features import Features, of_pairs
from accord.rewards.heads import counted, mlp
from accord.rewards.saved import Saved
from accord.rewards.scores import Scores


class Belief(NamedTuple):
    """A Gaussian over the hidden vector of each of n people."""

    mean: Float[Tensor, "n k"]
    log_variance: Float[Tensor, "n k"]

    def kl(self) -> Float[Tensor, "n"]:
        """To N(0, 1): ``-1/2 sum (1 + log s^2 - mu^2 - s^2)``."""
        return -0.5 * (1 + self.log_variance - self.mean.square() - self.log_variance.exp()).sum(-1)

    def entropy(self) -> Float[Tensor, "n"]:
        """``1/2 sum (1 + log 2 pi s^2)``, nats."""
        return 0.5 * (1 + math.log(2 * math.pi) + self.log_variance).sum(-1)


class VPL(Saved):
    """``E_z [-log s(r(chosen, z) - r(rejected, z))] + beta KL(q(z | verdicts) || N(0, 1))``: a variational autoencoder of people (Poddar
    et al. 2024, arXiv 2408.10075). No names are needed: whoever they are, a person is what they said.

    q reads each verdict of a context by one network, lets all of them see each other once (attention), and takes the mean: their order
    and number don't matter. ``for_person(verdicts)`` is somebody's reward, by the mean of q.

    Args:
        features: frozen ones of answers. latent: k. hidden: width of all hidden layers. kl: beta.
    """

    def __init__(
        self, features: Features, *, latent: int = 8, hidden: int = 64, kl: float = 1e-3, seed: int = 0
    ) -> None:
        super().__init__()
        wanted(
            latent >= 1 and hidden >= 1 and kl >= 0, "VPL wants latent, hidden >= 1 and kl >= 0", (latent, hidden, kl)
        )
        self.features, self.latent, self.hidden, self.kl = features, latent, hidden, kl
        with seeded(seed, purpose="vpl"):
            self.verdict = mlp(2 * features.width, latent, hidden, hidden)
            self.attention = counted(nn.Linear(latent, 3 * latent, bias=False))
            self.heads = counted(nn.Linear(latent, 2 * latent))
            self.reward = mlp(features.width + latent, 1, hidden, hidden)

    @property
    def settings(self) -> dict[str, Any]:
        return {"latent": self.latent, "hidden": self.hidden, "kl": self.kl}

    @classmethod
    def fit(cls, records: Sequence[Comparison], features: Features, *, context: int = 8, latent: int = 8, hidden: int = 64,
            kl: float = 1e-3, **training: Any) -> "VPL":  # fmt: skip
        """Train one on comparisons that say who judged.

        Args:
            context: verdicts by which each person is known in training; fewer or more are fine later.
        """
        seed = training.get("seed", 0)
        rows = in_context(records, context, seed=seed)
        if not rows:
            raise FeedbackError(f"nobody gave verdicts on more than {context} other prompts: give a smaller context")
        return cls(features, latent=latent, hidden=hidden, kl=kl, seed=seed).fitted(rows, **training)

    def fitted(self, rows: Sequence[InContext], **training: Any) -> "VPL":
        """Train it on verdicts with others of their person (`accord.feedback.in_context`); returns itself."""
        fit(
            VariationalFitting(self),
            rows,
            **{"lr": 1e-3, "batch_size": 32, "epochs": 10, "progress": False, **training},
        )
        return self

    def belief(self, chosen: Float[Tensor, "n m d"], rejected: Float[Tensor, "n m d"]) -> Belief:
        """Of n people by the features of m verdicts each. Log-variances stay in [-1, 1], as in the published code, and so do means; but
        softly (tanh): a clamp has no gradient beyond its bounds."""
        codes = self.verdict(torch.cat([chosen, rejected], -1))
        q, k, v = self.attention(codes).chunk(3, -1)
        seen = torch.softmax(q @ k.mT / self.latent**0.5, -1) @ v
        mean, log_variance = self.heads(seen.mean(-2)).float().tanh().chunk(2, -1)
        return Belief(mean, log_variance)

    def believed(self, people: Sequence[Sequence[Comparison]]) -> Belief:
        """Of people by as many verdicts each."""
        sizes = {len(said) for said in people}
        if len(sizes) != 1 or not min(sizes):
            raise ConfigError(f"people come with equally many verdicts, at least one, but these have {sorted(sizes)}")
        both = of_pairs(self.features, [p for said in people for p in said])
        chosen, rejected = (x.reshape(len(people), -1, x.shape[-1]).to(self.heads.weight) for x in both)
        return self.belief(chosen, rejected)

    def value(self, rows: Float[Tensor, "n d"], z: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
        """r(answer, z)."""
        return self.reward(torch.cat([rows, z], -1).to(self.heads.weight.dtype))[:, 0].float()

    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], **columns: Any) -> Scores:
        """Of somebody of whom nothing is known."""
        unknown = torch.zeros(self.latent, device=self.heads.weight.device)
        return OfPerson(self, unknown)(prompts=prompts, completions=completions)

    @torch.no_grad()
    def for_newcomer(self, said: Sequence[Comparison], rivals: Sequence[tuple[Prompt, Any]] = ()) -> "OfPerson":
        """The reward of somebody who said this.

        Args:
            rivals: answers (each with its prompt) to be compared with; see `OfPerson`.
        """
        return OfPerson(self, self.believed([said]).mean[0], rivals)

    @torch.no_grad()
    def gain(
        self, questions: Sequence[Sequence[Comparison]], *, patterns: int = 32, seed: int = 0
    ) -> Float[Tensor, "q"]:
        """What the answers to each set of m questions would tell of a person, in nats:
        ``H(N(0, 1)) - mean over patterns of verdicts of H(q(z | verdicts))``; ask the set with the largest gain.

        Args:
            questions: pairs whose order says nothing. patterns: of answers that are tried; all 2^m, if those are no more.

        Raises:
            ConfigError: the sets differ in size, or there is none.
        """
        sizes = sorted({len(some) for some in questions})
        wanted(len(sizes) == 1 and sizes[0] >= 1, "gain compares sets of equally many questions, at least one", sizes)
        prior = 0.5 * self.latent * (1 + math.log(2 * math.pi))
        m, g = len(questions[0]), generator(seed, purpose="patterns")
        tried = (
            list(product((False, True), repeat=m))
            if 2**m <= patterns
            else (torch.rand(patterns, m, generator=g) < 0.5).tolist()
        )
        entropies = [
            self.believed(
                [[q.flipped() if turn else q for q, turn in zip(some, pattern, strict=True)] for pattern in tried]
            )
            .entropy()
            .mean()
            for some in questions
        ]
        return prior - torch.stack(entropies).cpu()


class OfPerson:
    """One person's reward. With rivals it is scaled to win probabilities (VPL-SPO): ``mean over rivals of s(r(answer) - r(rival))`` in
    [0, 1], so that rewards of different people, of which each is known up to a scale only, can be optimised together."""

    def __init__(self, model: VPL, z: Float[Tensor, "k"], rivals: Sequence[tuple[Prompt, Any]] = ()) -> None:
        self.model, self.z, self.name = model, z, "of-person"
        self._rivals = self._values([p for p, _ in rivals], [c for _, c in rivals]) if rivals else None

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], **columns: Any) -> Scores:
        values = self._values(prompts, completions)
        if self._rivals is not None:
            values = torch.sigmoid(values[:, None] - self._rivals).mean(1)
        return Scores.of(values)

    @torch.no_grad()
    def _values(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> Float[Tensor, "n"]:
        rows = self.model.features(prompts, completions).to(self.z.device)
        return self.model.value(rows, self.z.expand(len(rows), -1)).cpu()


class VariationalFitting(Learner):
    """The evidence bound of `VPL`: the context is read, the target is predicted."""

    rows = (InContext,)

    def __init__(self, model: VPL) -> None:
        super().__init__()
        self.model = model

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def experience(self, batch: Rows, step: Step) -> Any:
        seeds = step.seeds(len(batch), purpose="people")
        noise = of_rows(lambda n, g: torch.randn(n, self.model.latent, generator=g), seeds, len(batch), "people")
        return Rows(zip(batch, noise, strict=True))

    def forward(self, rows: Rows) -> Loss:
        model, told = self.model, [row for row, _ in rows]
        belief = model.believed([row.context for row in told])
        noise = torch.stack([e for _, e in rows]).to(belief.mean)
        z = belief.mean + (0.5 * belief.log_variance).exp() * noise
        chosen, rejected = (x.to(z.device) for x in of_pairs(model.features, [row.target for row in told]))
        lead = model.value(chosen, z) - model.value(rejected, z)
        kl = belief.kl()
        metrics = {"accuracy": Mean.of((lead > 0).float()), "kl": Mean.of(kl)}
        return Loss((losses.pairwise(lead) + model.kl * kl).sum(), float(len(told)), metrics)
