"""On-policy training: sample, score, assign credit, step. Which method it is, only the credit knows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from accord.algorithms.base import PolicyAlgorithm
from accord.algorithms.reference import Reference, Which
from accord.algorithms.rollout.credit import Credit, Term
from accord.elsewhere import filled
from accord.engine import Loss, Mean, Rows, Step
from accord.errors import ConfigError
from accord.feedback import Record, prompt_of
from accord.policies.base import Rollouts
from accord.policies.capabilities import Samples, States
from accord.policies.critic import Critic
from accord.rewards import Reward, Scores
from accord.rewards.combine import reward_of
from accord.rewards.reward import load_state_of, reward_columns, score_drawn, state_of


@dataclass(frozen=True)
class Unit:
    """The least that a minibatch can hold: some episodes, and which of their steps."""

    rows: tuple[int, ...]
    steps: slice


@dataclass(frozen=True)
class Credited:
    """Rollouts with the terms of their loss, cut into units.

    Attributes:
        counts: the share of each episode that is here; 0 for those that no term counts.
    """

    rollouts: Rollouts
    terms: list[Term]
    units: list[Unit]
    counts: Float[Tensor, "n"]

    @classmethod
    def of(
        cls, rollouts: Rollouts, terms: list[Term], *, whole_groups: bool = False, steps_at_once: int | None = None
    ) -> "Credited":
        """Units are episodes, or groups where a term couples them; and some of their steps, where told so."""
        counted = _counted(terms)
        # Episodes that no term counts (RAFT's losers) need no forward pass.
        if whole_groups:
            groups = [(rollouts.group == g).nonzero()[:, 0].tolist() for g in rollouts.group[counted].unique()]
        else:
            groups = [[i] for i in counted.nonzero()[:, 0].tolist()]
        total = rollouts.mask.shape[1]
        size = steps_at_once or total
        steps = [slice(i, min(i + size, total)) for i in range(0, total, size)]
        units = [Unit(tuple(r), s) for s in steps for r in groups if bool(rollouts.mask[r, s].any())]
        # Where nothing counts there is still a (weightless) loss to be had.
        return cls(rollouts, terms, units or [Unit((0,), slice(0, total))], counted.float())

    def __len__(self) -> int:
        return len(self.units)

    def select(self, which: Sequence[int]) -> "Credited":
        """These units alone."""
        units = [self.units[i] for i in which]
        rows = sorted({r for u in units for r in u.rows})
        place = {r: i for i, r in enumerate(rows)}
        here = torch.zeros(len(rows), self.rollouts.mask.shape[1], dtype=torch.bool)
        for u in units:
            here[[place[r] for r in u.rows], u.steps] = True
        rollouts, terms = self.rollouts.select(rows), [t.select(rows) for t in self.terms]
        if not bool(here.all()):
            rollouts, terms = replace(rollouts, mask=rollouts.mask & here), [t.within(here) for t in terms]
        units = [Unit(tuple(place[r] for r in u.rows), u.steps) for u in units]
        whole = self.rollouts.mask[rows]
        share = (whole & here).sum(1) / whole.sum(1).clamp(min=1)
        return Credited(rollouts, terms, units, self.counts[rows] * share)


class Cut(TypedDict, total=False):
    """Options of `Rollout` that all its methods share: how large the pieces are."""

    score_batch_size: int | None
    steps_at_once: int | None
    most_importance: float


class Drawn(Cut, total=False):
    """And what becomes of answers that were cut off."""

    unfinished: float | Literal["keep", "drop"]


class Compared(Drawn, total=False):
    """And what the policy is compared with."""

    reference: Which | None


class Rollout(PolicyAlgorithm):
    """Sample a group of answers to each prompt, score them, and follow the credit's terms.

    Where those compare the answers of a prompt, the metric `no_signal` is the share of prompts whose answers all score the same.

    Args:
        reward: any reward, or a list of several, which are added up; columns of the prompts' records reach it by name.
        credit: the method's way from scores to terms of a loss.
        critic: where the credit needs one: a trunk to copy (policy, reward model); None copies the policy.
        group_size: answers to each prompt.
        sampling: how they are drawn, as the policy knows it, or a dict of what differs from its defaults.
        reference: what the KL compares with: "base", the policy as it begins; "now"; the folder of a saved one, or a policy.
            It is loaded and measured where the credit wants one, and only there.
        unfinished: what happens to answers cut at the length limit: "keep", "drop" from training, or their score.
        score_batch_size: score so many answers at a time; None all at once.
        most_importance: importance weights of what an engine drew (its log-probs differ a little) are cut here, at least 1.
        steps_at_once: cut episodes into pieces of so many steps, so that a micro batch needn't hold a whole one (the
            denoising steps of pictures).
    """

    rows = (Record, str, list)
    policy: Samples

    def __init__(self, policy: Samples, reward: Reward, credit: Credit, critic: States | None = None, *, group_size: int = 8,
                 sampling: Any = None, reference: Which | None = "base", unfinished: float | Literal["keep", "drop"] = "keep",
                 score_batch_size: int | None = None, steps_at_once: int | None = None, most_importance: float = 2.0) -> None:  # fmt: skip
        super().__init__(policy)
        sampling = filled(self.default_sampling(), sampling, "sampling")
        sampling.check_trainable()
        method, least = type(credit).__name__, getattr(credit, "least_group", 1)
        if group_size < least:
            why = f" ({method} compares the answers of a prompt)" if least > 1 else ""
            raise ConfigError(f"group_size must be at least {least}{why}, but is {group_size}")
        if steps_at_once is not None and (steps_at_once < 1 or getattr(credit, "couples_steps", False)):
            raise ConfigError(f"steps_at_once={steps_at_once}: at least 1, and never for {method}, "
                              "if its loss couples all steps of an episode")  # fmt: skip
        if isinstance(unfinished, str) and unfinished not in ("keep", "drop"):
            raise ConfigError(f"unfinished={unfinished!r} is none of keep, drop, or a score")
        if score_batch_size is not None and score_batch_size < 1:
            raise ConfigError(f"score_batch_size must be at least 1, but is {score_batch_size}")
        self.reward, self.credit, self.group_size, self.sampling = reward_of(reward), credit, group_size, sampling
        if not most_importance >= 1:
            raise ConfigError(f"most_importance must be at least 1, but is {most_importance}")
        self.unfinished, self.score_batch_size, self.steps_at_once = unfinished, score_batch_size, steps_at_once
        self.most_importance = most_importance
        self.reference = Reference.wanted(self, reference)
        trunk: Any = critic or policy
        self.critic = Critic(trunk) if getattr(credit, "needs_critic", False) else None

    def default_sampling(self) -> Any:
        """How answers are drawn unless told otherwise."""
        return self.policy.sampling_kind()

    @property
    def needs_reference(self) -> bool:
        return bool(getattr(self.credit, "kl", 0.0) or getattr(self.credit, "needs_reference", False))

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return super().trainables | ({"critic": self.critic} if self.critic else {})

    def experience(self, batch: Rows, step: Step) -> Credited:
        prompts = [prompt_of(r) for r in batch]
        rollouts = self.policy.sample(prompts, self.group_size, self.sampling,
                                      seed=step.seeds(len(prompts), purpose="rollout"),
                                      context=reward_columns(batch))  # fmt: skip
        scores = self._score(rollouts)
        if self.reference is not None:
            rollouts = replace(rollouts, reference=self.reference.logprobs(rollouts))
        if self.critic is not None:
            rollouts = replace(rollouts, values=self.critic.estimate(rollouts))
        self._log(step, rollouts, scores)
        terms, mine = self._assign(step, rollouts, scores)
        terms = [t.select(mine) for t in terms]
        if rollouts.behaviour is not None:
            terms = [t.weighed(self._importance(step, rollouts)) for t in terms]
        return Credited.of(rollouts, terms, whole_groups=getattr(self.credit, "couples_group", False),
                           steps_at_once=self.steps_at_once)  # fmt: skip

    def _importance(self, step: Step, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        """``min(pi / mu, most)`` of each step that an engine drew with mu; 1 where nobody acted."""
        assert rollouts.behaviour is not None
        gap = (rollouts.logprobs - rollouts.behaviour).masked_fill(~rollouts.mask, 0.0)
        step.log("engine_gap", gap.abs(), rollouts.mask)
        ratio = gap.exp().clamp(max=self.most_importance)
        step.log("engine_weight", ratio, rollouts.mask)
        return ratio

    def _assign(self, step: Step, rollouts: Rollouts, scores: Scores) -> tuple[list[Term], list[int]]:
        """Credit on the whole batch of all ranks, and which of its rows are this rank's."""
        if step.ranks == 1:
            return self.credit(scores, rollouts), list(range(len(rollouts)))
        parts = step.gather((rollouts, scores))
        whole = Rollouts.concat([r for r, _ in parts])
        terms = self.credit(Scores.concat([s for _, s in parts]), whole)
        before = sum(len(r) for r, _ in parts[: step.rank])
        width = rollouts.mask.shape[1]
        return [t.narrowed(width) for t in terms], list(range(before, before + len(rollouts)))

    def _score(self, rollouts: Rollouts) -> Scores:
        said = score_drawn(self.reward, rollouts, self.policy, batch_size=self.score_batch_size).to(torch.device("cpu"))
        said = said.detach()
        if said.spans is not None and said.steps is None and hasattr(self.policy, "steps_of"):
            said = replace(said, steps=self.policy.steps_of(rollouts, said.spans))
        if self.unfinished == "keep":
            return said
        if self.unfinished == "drop":
            return replace(said, valid=said.valid & rollouts.finished)
        return replace(said, values=torch.where(rollouts.finished, said.values, float(self.unfinished)))

    def forward(self, batch: Credited) -> Loss:
        rollouts = batch.rollouts
        sees: dict[str, Float[Tensor, "n t"]] = {}
        if any(t.of == "logprobs" for t in batch.terms):
            sees["logprobs"] = self.policy.logprobs(rollouts)
        if self.critic is not None:
            sees["values"] = self.critic(rollouts)
        device = next(iter(sees.values())).device
        rollouts = rollouts.to(device)
        total = torch.zeros((), device=device)
        episodes = float(batch.counts.sum())
        metrics: dict[str, Mean] = {}
        for term in batch.terms:
            weight = term.weight.to(device)
            each = term.surrogate(sees[term.of], rollouts, term.advantage.to(device))
            part = (each * weight).masked_fill(weight == 0, 0.0).sum()
            total = total + part
            name = getattr(term.surrogate, "func", term.surrogate).__name__
            metrics[f"loss/{name}"] = Mean(float(part.detach()), episodes)
        if "logprobs" in sees:
            drift = (sees["logprobs"].detach() - rollouts.logprobs).abs()
            metrics["off_policy"] = Mean.of(drift, rollouts.mask)
        return Loss(total, episodes, metrics)

    def _log(self, step: Step, rollouts: Rollouts, scores: Scores) -> None:
        step.log("reward", scores.values, scores.valid)
        for name, values in scores.aspects.items():
            step.log(f"reward/{name}", values.detach(), scores.valid)
        if scores.std is not None:
            step.log("reward/std", scores.std.detach(), scores.valid)
        if getattr(self.credit, "least_group", 1) > 1:
            step.log("no_signal", _alike(scores, rollouts.group))
        step.log("length", rollouts.length.float())
        step.log("finished", rollouts.finished.float())
        step.log("surprise", -rollouts.logprobs, rollouts.mask)
        if rollouts.reference is not None:
            step.log("kl", rollouts.averaged * ((rollouts.logprobs - rollouts.reference) * rollouts.mask).sum(-1))

    def state(self) -> dict[str, Tensor]:
        return state_of(self.reward) | {f"credit.{k}": v for k, v in state_of(self.credit).items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_state_of(self.reward, {k: v for k, v in state.items() if not k.startswith("credit.")})
        load_state_of(self.credit, {k.removeprefix("credit."): v for k, v in state.items() if k.startswith("credit.")})


def _counted(terms: list[Term]) -> Bool[Tensor, "n"]:
    """Which episodes any term gives weight to."""
    return torch.stack([(t.weight != 0).flatten(1).any(-1) if t.weight.ndim > 1 else t.weight != 0 for t in terms]).any(
        0
    )


def _alike(scores: Scores, group: Int[Tensor, "n"]) -> Float[Tensor, "p"]:
    """1 for each prompt whose answers (those that count) all score the same, 0 for the others."""
    groups = [scores.values[(group == g) & scores.valid] for g in group.unique()]
    return torch.tensor([float(len(v) < 2 or bool((v == v[0]).all())) for v in groups])
