"""Cheap rewards: a small head on frozen features, which trains in seconds."""

from collections.abc import Sequence
from typing import Any, Self, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.engine.seeds import derive, seeded
from accord.errors import one_of, wanted
from accord.feedback import Prompt
from accord.policies.base import Group
from accord.policies.meter import count
from accord.rewards.encoder import SentenceEncoder
from accord.rewards.features import Features, Remembered, SentenceFeatures
from accord.rewards.fitting import FitOptions, RewardFitting, fit_reward
from accord.rewards.saved import Kept, Saved
from accord.rewards.scores import Scores

M = TypeVar("M", bound=nn.Module)

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU, "tanh": nn.Tanh, "prelu": nn.PReLU, "none": nn.Identity,
}  # fmt: skip


class HeadReward(Saved):
    """A head on frozen features.

    Args:
        hidden: width of one hidden layer, or of several; 0 for a linear head. activation: between layers, of `ACTIVATIONS`.
        aspects: names of the outputs; none for one scalar.
    """

    def __init__(
        self,
        features: Features,
        *,
        hidden: int | Sequence[int] = 64,
        activation: str = "gelu",
        aspects: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.features, self.aspects, self.activation = features, tuple(aspects), activation
        self.hidden = hidden if isinstance(hidden, int) else list(hidden)
        widths = [hidden] if isinstance(hidden, int) else hidden
        with seeded(seed, purpose="head"):
            self.head = mlp(features.width, max(1, len(aspects)), *(w for w in widths if w), activation=activation)

    @property
    def settings(self) -> dict[str, Any]:
        return {"hidden": self.hidden, "activation": self.activation, "aspects": list(self.aspects)}

    def fitted(self, records: Sequence[Any], options: FitOptions | None = None, **training: Any) -> Self:
        """Train the head on comparisons, rankings or ratings; returns itself."""
        fit_reward(RewardFitting(self, options or FitOptions()), records,
                   **{"lr": 1e-3, "batch_size": 64, "epochs": 5, "progress": False, **training})  # fmt: skip
        return self

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], **columns: Any) -> Scores:
        table = self._table(list(prompts), list(completions)).cpu()
        return Scores.of(table.mean(-1), aspects={a: table[:, i] for i, a in enumerate(self.aspects)})

    def values_of(self, groups: Sequence[Group]) -> Float[Tensor, "n a"]:
        """Rewards of every completion, group by group, with gradient."""
        return self._table(
            [g.prompt for g in groups for _ in g.completions], [c for g in groups for c in g.completions]
        )

    def _table(self, prompts: list[Prompt], completions: list[Any]) -> Float[Tensor, "n a"]:
        return self.head(self.features(prompts, completions).to(next(self.head.parameters()))).float()


class Committee(Saved):
    """Several heads on one table of frozen features, which is computed once for all of them: each votes for itself (`Scores.members`).

    Args:
        heads: how many. hidden: as for `HeadReward`.
    """

    def __init__(self, features: Features, heads: int = 10, *, hidden: int = 0, seed: int = 0) -> None:
        super().__init__()
        wanted(heads >= 1, "a committee wants at least one head", heads)
        self.features, self.hidden, self.seed = features, hidden, seed
        self.heads = nn.ModuleList(HeadReward(features, hidden=hidden, seed=derive(seed, i)).head for i in range(heads))

    @property
    def settings(self) -> dict[str, Any]:
        return {"heads": len(self.heads), "hidden": self.hidden}

    def fitted(self, records: Sequence[Any], options: FitOptions | None = None, **training: Any) -> Self:
        """Train every head on all records, each from first weights and in an order of its own; returns itself."""
        table = Remembered(self.features)
        for i, head in enumerate(self.heads):
            one = HeadReward(table, hidden=0)
            one.head = head
            one.fitted(records, options, **{**training, "seed": derive(self.seed, i)})
        return self

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], **columns: Any) -> Scores:
        rows = self.features(prompts, completions).to(next(self.heads.parameters()))
        members = torch.cat([head(rows) for head in self.heads], 1).float().cpu()
        return Scores.of(members.mean(1), members=members)


def mlp(width: int, out: int, *hidden: int, activation: str = "gelu") -> nn.Module:
    """Linear layers with an activation between them, which tell the meter of every row."""
    one_of("activation", activation, *ACTIVATIONS)
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), ACTIVATIONS[activation]()]
        width = size
    return counted(nn.Sequential(*layers, nn.Linear(width, out)) if layers else nn.Linear(width, out))


def counted(network: M) -> M:
    """The same network, which from now on tells the meter of every row that goes through it."""
    network.register_forward_hook(_tell)
    return network


def _tell(network: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
    count(network, out.numel() // out.shape[-1], backward=torch.is_grad_enabled())


class EncoderReward(HeadReward):
    """A head on a sentence encoder's features of prompt and completion (their own, and their product).

    Args:
        hidden, activation, aspects: as for `HeadReward`.
    """

    features: SentenceFeatures

    def __init__(
        self,
        encoder: SentenceEncoder,
        *,
        hidden: int | Sequence[int] = 64,
        activation: str = "gelu",
        aspects: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(SentenceFeatures(encoder), hidden=hidden, activation=activation, aspects=aspects, seed=seed)

    @property
    def encoder(self) -> SentenceEncoder:
        return self.features.encoder

    @classmethod
    def fit(cls, records: Sequence[Any], encoder: SentenceEncoder | None = None, *, hidden: int | Sequence[int] = 64, activation: str = "gelu",
            options: FitOptions | None = None, aspects: Sequence[str] = (), **training: Any) -> "EncoderReward":  # fmt: skip
        """Train a head on comparisons, rankings or ratings."""
        reward = cls(
            encoder or SentenceEncoder(),
            hidden=hidden,
            activation=activation,
            aspects=aspects,
            seed=training.get("seed", 0),
        )
        return reward.fitted(records, options, **training)

    @classmethod
    def made(cls, kept: Kept) -> "EncoderReward":
        return cls(kept.features.encoder, **kept.settings)
