"""BARFI: the reward that makes a policy do right, learned from what the policy then does."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from accord.algorithms.base import PolicyAlgorithm
from accord.elsewhere import filled
from accord.engine import Loss, Rows, Step, generator
from accord.engine.batch import Batch, Padded
from accord.engine.implicit import along, implicit_gradient, neumann
from accord.engine.seeds import seeded
from accord.errors import ConfigError, wanted
from accord.feedback import Record, prompt_of
from accord.losses.returns import above_others, to_go
from accord.policies.acting import Reader
from accord.policies.control import Acts
from accord.policies.meter import count
from accord.rewards import Reward
from accord.rewards.episodes import own_reward
from accord.rewards.reward import reward_columns, score_drawn


@dataclass(frozen=True)
class Seen(Batch):
    """Episodes with what the true and the designer's reward said of each step, and what it is worth to the policy once that is known."""

    observations: Padded[Float[Tensor, "n t d"]]
    actions: Padded[Tensor]
    mask: Padded[Bool[Tensor, "n t"]]
    primary: Padded[Float[Tensor, "n t"]]
    auxiliary: Padded[Float[Tensor, "n t"]]
    worth: Padded[Float[Tensor, "n t"] | None] = None


class Aligned(nn.Module):
    """``r(s, a) = phi_1(s) + r_p + phi_3(s) r_aux``, with its discount; at first it is ``r_p + r_aux``."""

    def __init__(self, heads: Reader, discount: float) -> None:
        super().__init__()
        self.heads = heads
        nn.init.constant_(heads.last.bias[1:], 1.0)
        self.logit = nn.Parameter(torch.logit(torch.tensor(discount, device=heads.last.bias.device)))

    @property
    def discount(self) -> Float[Tensor, ""]:
        return self.logit.float().sigmoid()

    def forward(self, seen: Seen) -> Float[Tensor, "n t"]:
        own, share = self.heads(seen.observations).unbind(-1)
        return own + seen.primary + share * seen.auxiliary


class BARFI(PolicyAlgorithm):
    """``max_phi J(theta*(phi)) - haste gamma_phi - shrink |phi|^2``, J the true return and theta* where REINFORCE on the aligned reward
    ``phi_1(s) + r_p + phi_3(s) r_aux``, discounted by gamma_phi, comes to rest: what a designer thought would help is used as far as it
    does (Gupta et al. 2023, arXiv 2310.19007).

    The gradient in phi is that of `accord.engine.implicit`, the policy where it is. It goes on through the `warmup`, in which phi stays
    as it begins, as it would with ``r_p + r_aux`` for its reward. Rewards are in units of which about 100 are a success.

    Args:
        reward: the designer's, of each step (`by_step`). primary: what is truly wanted of each step; None is what the environment pays.
        every: steps of the policy for one of the reward, each cycle with fresh episodes. warmup: steps before the reward begins to learn.
        group_size: episodes from each start. buffer: the last so many episodes, of which the policy learns, whoever acted in them.
        entropy: weight of the policy's, in units of the reward; without, the inner problem may have no maximum.
        gamma: discount of the true return, and of the aligned one at first, in (0, 1).
        terms, rate: of the Neumann series. haste: price of the learned discount. shrink: of the heads' weights.
        width: of the heads' hidden layer. seed: of their first weights.
        sampling: how the policy acts.
    """

    rows = (Record, str, list)
    policy: Acts

    def __init__(self, policy: Acts, reward: Reward, primary: Reward | None = None, *, every: int = 4, warmup: int = 12, group_size: int = 1,
                 buffer: int = 64, entropy: float = 0.25, gamma: float = 0.99, terms: int = 5, rate: float = 1e-4, haste: float = 0.06,
                 shrink: float = 0.0, width: int = 32, seed: int = 0, sampling: Any = None) -> None:  # fmt: skip
        super().__init__(policy)
        wanted(min(every, group_size, buffer, terms, width) >= 1 and warmup >= 0, "BARFI wants every, group_size, buffer, terms and width >= 1, warmup >= 0",
               (every, group_size, buffer, terms, width, warmup))  # fmt: skip
        wanted(0 < gamma < 1 and rate > 0 and min(entropy, haste, shrink) >= 0, "BARFI wants gamma in (0, 1), rate > 0, entropy, haste and shrink >= 0",
               (gamma, rate, entropy, haste, shrink))  # fmt: skip
        self.sampling = filled(policy.sampling_kind(), sampling, "sampling")
        self.sampling.check_trainable()
        self.reward, self.primary = reward, primary or own_reward
        self.every, self.warmup, self.group_size, self.buffer = every, warmup, group_size, buffer
        self.entropy, self.gamma, self.haste, self.shrink = entropy, gamma, haste, shrink
        self.solve = partial(neumann, terms=terms, rate=rate)
        with seeded(seed, purpose="aligned"):
            self.aligned = Aligned(policy.reader((width,), 2), gamma)
        self._seen: Seen | None = None
        self._slope: list[Tensor] = []

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {**super().trainables, "reward": self.aligned}

    def experience(self, batch: Rows, step: Step) -> Seen:
        """Some of the last episodes; at a cycle's begin with fresh ones among them, and the reward's gradient by those."""
        if step.ranks > 1:
            raise ConfigError("BARFI trains in one process: its episodes cost more than its gradients")
        fresh_ones = len(batch) * self.group_size
        wanted(self.buffer >= fresh_ones, f"BARFI's buffer must hold the {fresh_ones} episodes of a batch", self.buffer)
        self._slope, before = [], self.acted(batch, step, "first") if self._seen is None else self._seen
        if step.number % self.every == 0:
            fresh = self.acted(batch, step, "rollout")
            if step.number >= self.warmup:
                self._slope = self.steered(fresh, before, step)
            before = Seen.concat([before, fresh])
        self._seen = before.select(range(len(before))[-self.buffer :])
        order = torch.randperm(len(self._seen), generator=generator(step.seed, step.number, purpose="replay"))
        chosen = self._seen.select(order[: len(batch) * self.group_size])
        return replace(chosen, worth=self.worth(chosen).detach())

    def acted(self, batch: Rows, step: Step, purpose: str) -> Seen:
        """Episodes of the policy as it is."""
        drawn = self.policy.sample([prompt_of(r) for r in batch], self.group_size, self.sampling, seed=step.seeds(len(batch), purpose=purpose),
                                   context=reward_columns(batch))  # fmt: skip
        paid = [score_drawn(r, drawn, self.policy) for r in (self.primary, self.reward)]
        for name, scores in zip(("return", "auxiliary"), paid, strict=True):
            step.log(name, scores.values)
        step.log("length", drawn.length.float())
        said = [s.steps for s in paid if s.steps is not None]
        if len(said) < len(paid):
            raise ConfigError("BARFI wants rewards of each step (Scores.steps): make them with accord.rewards.by_step")
        return Seen(drawn.actions.observations, drawn.actions.actions, drawn.mask, *said)

    def steered(self, fresh: Seen, before: Seen, step: Step) -> list[Tensor]:
        """The gradient of -J in phi: its end by fresh episodes, the policy's own equilibrium by those before them."""
        theta, phi = list(self.policy.parameters()), list(self.aligned.parameters())  # type: ignore[attr-defined]
        with torch.enable_grad():
            logprobs, _ = self.scored(fresh)
            worth = above_others(to_go(fresh.primary, fresh.mask, torch.tensor(self.gamma))).to(logprobs.device)
            when = self.gamma ** torch.arange(worth.shape[1], device=worth.device)
            uphill = torch.autograd.grad(-(when * worth * logprobs).sum() / len(fresh), theta)
            slope, solved = implicit_gradient(
                self.surrogate(before, self.worth(before)) / len(before), uphill, theta, phi, self.solve
            )
        count(self.policy, solved.terms * int(before.mask.sum()), backward=True)  # type: ignore[arg-type]
        step.log("residual", solved.residual)
        step.log("discount", self.aligned.discount.detach())
        step.log("share", self.aligned.heads(fresh.observations)[..., 1].detach().cpu(), fresh.mask)
        return slope

    def forward(self, seen: Seen) -> Loss:
        assert seen.worth is not None
        total, weight = self.surrogate(seen, seen.worth), float(len(seen))
        if self._slope:
            tie = sum(p.square().sum() for p in self.aligned.heads.parameters())
            outer = (
                along(list(self.aligned.parameters()), self._slope)
                + self.haste * self.aligned.discount
                + self.shrink * tie
            )
            total = total + weight * outer
        return Loss(total, weight)

    def worth(self, seen: Seen) -> Float[Tensor, "n t"]:
        """Of each action by the aligned reward, with its graph to phi."""
        seen = seen.to(self.aligned.logit.device)
        return above_others(to_go(self.aligned(seen), seen.mask, self.aligned.discount))

    def surrogate(self, seen: Seen, worth: Float[Tensor, "n t"]) -> Float[Tensor, ""]:
        """``-sum_t worth_t log pi(a_t|s_t) - entropy H(pi(.|s_t))``, summed over episodes."""
        logprobs, entropy = self.scored(seen)
        return -(worth * logprobs + self.entropy * entropy).sum()

    def scored(self, seen: Seen) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
        """Log-probs and entropies, 0 where an episode has ended."""
        found = self.policy.distribution(seen.observations)
        logprobs = found.log_prob(seen.actions.to(self.aligned.logit.device))
        off = ~seen.mask.to(logprobs.device)
        return logprobs.masked_fill(off, 0.0), found.entropy().masked_fill(off, 0.0)

    def state(self) -> dict[str, Tensor]:
        return {k: v for k, v in vars(self._seen).items() if v is not None} if self._seen is not None else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._seen = Seen(**state) if state else None
