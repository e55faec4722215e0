"""lambda-harmonic RPO: subject-driven generation by preference, with lambda-harmonic rewards (arXiv 2407.12164)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.algorithms.base import Given, PolicyAlgorithm
from accord.algorithms.reference import Reference, Which
from accord.engine import Loss, Mean, Rows, Step
from accord.engine.batch import Batch
from accord.engine.seeds import of_rows
from accord.errors import FeedbackError, wanted
from accord.feedback import Example
from accord.losses import pairwise
from accord.policies.base import Group
from accord.policies.capabilities import Differentiable
from accord.policies.diffusion import as_picture, square
from accord.rewards import Reward, score
from accord.rewards.reward import reward_columns


@dataclass(frozen=True)
class SubjectPair:
    """A picture of the subject beside one that the base model made for another prompt.

    Attributes:
        wins: probability that the subject's picture is preferred for the other prompt:
            ``s(r(reference, c_g) - r(generated, c_g))``, mostly below a half, as the generated one was made for it.
    """

    reference: Example
    generated: Example
    wins: float


@dataclass(frozen=True)
class Sides(Batch):
    """Both pictures of each pair with their draws, and this step's coin flips."""

    reference: Given
    generated: Given
    labels: Float[Tensor, "n"]


class RewardPreference(PolicyAlgorithm):
    """``m_ref_picture - [y log s(d) + (1 - y) log s(-d)]``, m the denoising error, d by how much it fell more on the
    subject's picture than on the generated one: DreamBooth's loss, held back by labels.

    Over draws of the labels the second term is least at ``d = r(reference, c_g) - r(generated, c_g)``: where rewards prefer
    the generated picture, a pull towards what the base model makes; as errors are means over a latent, d is small, and
    the pull nearly ``(1/2 - wins) beta d``.

    Reward preference optimisation (Miao et al. 2024, arXiv 2407.12164); `subject_pairs` makes its rows.

    Args:
        beta: in front of d (1 in the released code). preference: weight of the second term; 0 leaves plain DreamBooth.
        reference: what d compares with; see `Preference`.
    """

    rows = (SubjectPair,)
    needs_reference = True

    def __init__(self, policy: Differentiable, *, beta: float = 1.0, preference: float = 1.0, reference: Which = "base") -> None:  # fmt: skip
        super().__init__(policy)
        wanted(beta > 0 and preference >= 0, "reward preference wants beta > 0 and preference >= 0", (beta, preference))
        self.beta, self.preference = beta, preference
        self.reference = Reference.wanted(self, reference)

    @classmethod
    def rows_from(cls, policy: Differentiable, pictures: Sequence[Example], reward: Reward, *, sampling: Any = None,
                  seed: int = 0) -> list[SubjectPair]:  # fmt: skip
        """Its rows, made of a subject's pictures: each beside one that the policy draws for another one's prompt.

        Args:
            pictures: with their prompts, two at least. reward: labels the pairs.
        """
        if len(pictures) < 2:
            raise FeedbackError("reward preference wants two pictures of a subject at least, for each other's prompts")
        asked = [e.prompt for e in (*pictures[1:], pictures[0])]
        drawn = policy.sample(asked, 1, policy.sampling_kind() if sampling is None else sampling, seed=seed).completions
        return subject_pairs(
            pictures, [Example(prompt=p, completion=x) for p, x in zip(asked, drawn, strict=True)], reward
        )

    def experience(self, batch: Rows, step: Step) -> Sides:
        wrong = next((r for r in batch if not isinstance(r, SubjectPair)), None)
        if wrong is not None:
            raise FeedbackError(f"reward preference wants SubjectPair rows, not a {type(wrong).__name__}")
        coins = of_rows(
            lambda n, g: torch.rand(n, generator=g), step.seeds(len(batch), purpose="labels"), len(batch), "labels"
        )
        labels = (coins < torch.tensor([r.wins for r in batch])).float()
        return Sides(self._side(batch, [r.reference for r in batch], step, 0),
                     self._side(batch, [r.generated for r in batch], step, 1), labels)  # fmt: skip

    def _side(self, batch: Rows, examples: list[Example], step: Step, side: int) -> Given:
        return self.given(batch, [Group(e.prompt, (e.completion,)) for e in examples], step, side)

    def forward(self, sides: Sides) -> Loss:
        mine, other = (self._error(side) for side in (sides.reference, sides.generated))
        d = (mine[1] - mine[0]) - (other[1] - other[0])
        preferred = pairwise(self.beta * d, sides.labels.to(d.device))
        each = mine[0] + self.preference * preferred
        return Loss(each.sum(), float(len(sides)), {
            "error": Mean.of(mine[0]), "preference": Mean.of(preferred), "margin": Mean.of(d),
        })  # fmt: skip

    def _error(self, side: Given) -> tuple[Tensor, Tensor]:
        """Denoising error under the policy and under the base."""
        found = self.likelihood(side)
        assert found.reference is not None
        return found.error, -2 * found.reference


def subject_pairs(references: Sequence[Example], generated: Sequence[Example], reward: Reward) -> list[SubjectPair]:
    """Every generated picture beside a reference (in turn), labelled by a reward that both get for the generated one's prompt."""
    pairs = [(references[i % len(references)], g) for i, g in enumerate(generated)]
    prompts = [g.prompt for _, g in pairs]
    columns: dict[str, Any] = reward_columns([g for _, g in pairs])
    theirs = [as_picture(g.completion) for _, g in pairs]
    ours = [square(as_picture(r.completion).to(g.device), g.shape[-1]) for (r, _), g in zip(pairs, theirs, strict=True)]
    of = [score(reward, prompts=prompts, completions=side, **columns).values for side in (ours, theirs)]
    wins = torch.sigmoid(of[0] - of[1]).tolist()
    return [SubjectPair(r, g, w) for (r, g), w in zip(pairs, wins, strict=True)]
