"""Preference optimisation on given completions: any pairwise loss, and KTO for unpaired labels."""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord import losses
from accord.algorithms.base import Given, PolicyAlgorithm
from accord.engine import Loss, Mean, Rows, Step
from accord.engine.store import Store
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison, Label, prompt_key
from accord.losses import LogProbs
from accord.policies.base import Group, Policy
from accord.policies.diffusion import InvertedDraw
from accord.policies.placement import Aside

PairLoss = Callable[[LogProbs, LogProbs], Float[Tensor, "n"]]
Named = Literal["dpo", "ipo", "simpo", "orpo", "rpo"]
NAMED = ("dpo", "ipo", "simpo", "orpo", "rpo")
REFERENCE_FREE = frozenset({"simpo", "orpo"})
NOTHING = LogProbs(torch.zeros(1), torch.ones(1), torch.zeros(1))


class Preference(PolicyAlgorithm):
    """A pairwise loss on comparisons.

    Args:
        loss: a name from `accord.losses` (dpo, ipo, simpo, orpo, rpo) with its options as keywords, or any function
            of (chosen, rejected) `LogProbs`.
        reference: what log-ratios compare with; "base" freezes the policy as it is now (adapters off, where it has
            any); None for losses that need none.
        store: folder in which the reference's log-probs are kept for later runs on the same data and model; they
            are computed once in any case.
        draw: where a likelihood that is not exact looks; see `PolicyAlgorithm`.
    """

    rows = (Comparison,)

    def __init__(self, policy: Any, loss: Named | PairLoss = "dpo", *, reference: Policy | Literal["base"] | None = "base",
                 store: str | Path | None = None, draw: Any = None, **options: Any) -> None:  # fmt: skip
        super().__init__(policy, draw)
        self.loss = pair_loss(loss, **options) if isinstance(loss, str) else partial(loss, **options)
        if isinstance(loss, str) and loss in REFERENCE_FREE:
            reference = None
        self.reference = _Reference(policy, reference, store) if reference is not None else None

    def group(self, row: Comparison) -> Group:
        return Group(row.prompt, (row.chosen, row.rejected))

    def experience(self, batch: Rows, step: Step) -> Given:
        wrong = next((r for r in batch if not isinstance(r, Comparison)), None)
        if wrong is not None:
            raise FeedbackError(
                f"a preference loss wants comparisons (chosen and rejected), not a {type(wrong).__name__}"
            )
        groups = [self.group(r) for r in batch]
        draw = self.drawn(groups, step)
        return Given(batch, groups, draw, self.reference(groups, draw, step) if self.reference else None)

    def forward(self, pairs: Given) -> Loss:
        chosen, rejected = self.pair(pairs)
        each = self.loss(chosen, rejected)
        return Loss(each.sum(), float(len(pairs)), _measures(chosen, rejected))

    def pair(self, pairs: Given) -> tuple[LogProbs, LogProbs]:
        """Log-probs of both sides; where a reference was computed, with it."""
        found = self.policy.likelihood(pairs.groups, pairs.draw)
        if pairs.reference is not None:
            found = found.with_reference(pairs.reference.flatten())
        return found[0::2], found[1::2]

    @torch.no_grad()
    def evaluate(self, comparisons: Sequence[Comparison],
                 batch_size: int = 8) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:  # fmt: skip
        """By how much the chosen answer leads: in implicit reward ``h_c - h_r``, and in log-prob for each token.

        Without a reference both are the latter.
        """
        found = []
        for i in range(0, len(comparisons), batch_size):
            c, r = self.pair(self.experience(Rows(comparisons[i : i + batch_size]), Step(0, 0)))
            likelihood = (c.mean - r.mean).cpu()
            found.append(((c.ratio - r.ratio).cpu() if c.reference is not None else likelihood, likelihood))
        return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])

    def state(self) -> dict[str, Tensor]:
        return self.reference.state() if self.reference else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        if self.reference:
            self.reference.load_state(state)


def pair_loss(name: str, **options: Any) -> PairLoss:
    """A loss of `accord.losses` by name with its options.

    Raises:
        ConfigError: there is no such loss or option, or an option lies outside its range.
    """
    if name not in NAMED:
        raise ConfigError(f"loss={name!r} is not one of {', '.join(NAMED)}")
    made = partial(getattr(losses, name), **options)
    _try(name, lambda: made(NOTHING, NOTHING))
    return made


def DiffusionDPO(policy: Any, *, beta: float = 2000.0, **options: Any) -> Preference:
    """DPO on denoising errors at random levels (Wallace et al. 2023, arXiv 2311.12908); beta is for the mean over a latent."""
    return Preference(policy, "dpo", beta=beta, **options)


def InPO(policy: Any, *, beta: float = 2000.0, levels: int = 10, eta: float = 0.1, **options: Any) -> Preference:
    """Diffusion-DPO at the latents the policy itself would make each picture from (Lu et al. 2025, arXiv 2503.18454).

    See `InvertedDraw` for levels and eta.
    """
    return Preference(policy, "dpo", beta=beta, draw=InvertedDraw(levels, eta), **options)


class KTO(PolicyAlgorithm):
    """Kahneman-Tversky optimisation on labels good/bad of single completions (arXiv 2402.01306).

    The KL that its value function is centred on is estimated on mismatched pairs: each prompt with the next row's
    completion, beside its own in the same tree. It is a mean over one forward pass, as in the paper's code: a larger
    `micro_batch_size` makes it less noisy.
    """

    rows = (Label,)

    def __init__(self, policy: Any, *, beta: float = 0.1, desirable_weight: float = 1.0, undesirable_weight: float = 1.0,
                 reference: Policy | Literal["base"] = "base", store: str | Path | None = None) -> None:  # fmt: skip
        super().__init__(policy)
        self.loss = partial(
            losses.kto, beta=beta, desirable_weight=desirable_weight, undesirable_weight=undesirable_weight
        )
        _try("kto", lambda: self.loss(NOTHING, torch.tensor([True]), torch.tensor(0.0)))
        self.reference = _Reference(policy, reference, store)

    def group(self, row: Label) -> Group:
        return Group(row.prompt, (row.completion,))

    def experience(self, batch: Rows, step: Step) -> Given:
        if any(not isinstance(r, Label) for r in batch) or len(batch) < 2:
            raise FeedbackError("KTO wants labelled completions (prompt, completion, label), at least two in a batch")
        others = [self._other(batch, i) for i in range(len(batch))]
        groups = [Group(r.prompt, (r.completion, o)) for r, o in zip(batch, others, strict=True)]
        draw = self.drawn(groups, step)
        return Given(batch, groups, draw, self.reference(groups, draw, step))

    def _other(self, batch: Rows, i: int) -> Any:
        """The next row's completion that the model can take after this row's prompt; its own, if none is short enough."""
        ids = getattr(self.policy, "ids", lambda group: None)
        for j in range(1, len(batch)):
            other = batch[(i + j) % len(batch)].completion
            with contextlib.suppress(FeedbackError):
                ids(Group(batch[i].prompt, (other,)))
                return other
        return batch[i].completion

    def state(self) -> dict[str, Tensor]:
        return self.reference.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.reference.load_state(state)

    def forward(self, rows: Given) -> Loss:
        assert rows.reference is not None
        found = self.policy.likelihood(rows.groups, rows.draw).with_reference(rows.reference.flatten())
        own, other = found[0::2], found[1::2]
        good = torch.tensor([r.label for r in rows.rows], device=own.policy.device)
        kl = other.ratio.detach().mean()
        each = self.loss(own, good, kl)
        h = own.ratio.detach()
        return Loss(each.sum(), float(len(rows)), {
            "kl": Mean.of(kl.clamp(min=0)[None]), "reward_good": Mean.of(h, good), "reward_bad": Mean.of(h, ~good),
        })  # fmt: skip


class _Reference(nn.Module):
    """Log-probs of a frozen policy, each completion's computed once (and kept on disk, where a folder is given; else in
    checkpoints, so that a run that goes on compares with the very same numbers)."""

    def __init__(self, policy: Any, reference: Policy | Literal["base"], folder: str | Path | None) -> None:
        super().__init__()
        self._policy = Aside(policy.freeze("base") if reference == "base" else reference)
        self._store = Store(folder, "reference-logprobs")
        self._on_disk = folder is not None
        # Only what outlives the process must be told apart by its weights.
        self._fingerprint = getattr(self.policy, "fingerprint", "") if self._on_disk else ""

    @property
    def policy(self) -> Any:
        return self._policy[0]

    def forward(self, groups: Sequence[Group], draw: Any, step: Step) -> Float[Tensor, "g k"]:
        if draw is not None:  # another draw, another value: nothing to keep
            return self.policy.likelihood(groups, draw).policy.cpu().reshape(len(groups), -1)
        keys = [[Store.key(self._fingerprint, k) for k in row] for row in self._keys(groups)]
        known = self._store.get(k for row in keys for k in row)
        todo = [i for i, row in enumerate(keys) if any(k not in known for k in row)]
        fresh: dict[bytes, Tensor] = {}
        if todo:
            found = self.policy.likelihood([groups[i] for i in todo]).policy.cpu()
            named = zip((k for i in todo for k in keys[i]), found, strict=True)
            fresh = {k: v.reshape(1) for k, v in named if k not in known}
        for part in [fresh] if self._on_disk else step.gather(fresh):
            self._store.put(part)
        known |= fresh
        return torch.stack([torch.cat([known[k] for k in row]) for row in keys])

    def _keys(self, groups: Sequence[Group]) -> list[list[Any]]:
        """What each value depends on beside the weights: for a language model its tokens, whatever template wrote them."""
        if hasattr(self.policy, "keys"):
            return self.policy.keys(groups)
        return [[[prompt_key(g.prompt), c] for c in g.completions] for g in groups]

    def state(self) -> dict[str, Tensor]:
        return {} if self._on_disk else self._store.tensors()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._store.take(state)


def _try(name: str, call: Callable[[], Any]) -> None:
    """Call a loss once on nothing, so that wrong options are refused before anything is loaded."""
    try:
        call()
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from None


def _measures(c: LogProbs, r: LogProbs) -> dict[str, Mean]:
    out = {"logp_chosen": Mean.of(c.mean), "logp_rejected": Mean.of(r.mean)}
    if c.reference is not None:
        margin = (c.ratio - r.ratio).detach()
        return {
            **out,
            "margin": Mean.of(margin),
            "accuracy": Mean.of((margin > 0).float()),
            "shift_chosen": Mean.of(c.ratio),
        }
    margin = (c.mean - r.mean).detach()
    return {**out, "margin": Mean.of(margin), "accuracy": Mean.of((margin > 0).float())}
