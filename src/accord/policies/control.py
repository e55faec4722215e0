"""Policies that act: a small network in any gymnasium environment, step by step."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from accord.elsewhere import filled
from accord.engine.batch import Batch
from accord.engine.run import load_tensors, new_folder, save_tensors, write_json
from accord.engine.seeds import Seeds, derive, numbered, of_rows, seeded, times
from accord.errors import ConfigError
from accord.policies.acting import Acted, Acting, Env, Episode, Reader, environment, gymnasium, span
from accord.policies.base import Prompt, Rollouts
from accord.policies.capabilities import Samples
from accord.policies.frozen import FrozenPolicy
from accord.policies.placement import Device, device_of

AT_ONCE = 64
"""Environments that run side by side."""


class Acts(Samples, Protocol):
    """acts in an environment, step by step"""

    def distribution(self, observations: Float[Tensor, "*n d"]) -> Distribution: ...
    def reader(self, hidden: Sequence[int], outputs: int) -> Reader: ...


class ControlPolicy(nn.Module):
    """``pi(a|s)``: a softmax over some actions, or a Gaussian over a box of them, whose spread is the same everywhere.

    A prompt is any text. It names where an episode starts (the same text, the same start); what happens then is drawn anew.

    Args:
        env: whose observations can be flattened to numbers, and whose actions are discrete or a box.
        hidden: width of each hidden layer; with none the policy is linear in what it sees.
        seed: of the first weights; at first all actions are equally likely.

    Raises:
        ModelError: gymnasium isn't installed, or has no such environment.
        ConfigError: it shows or takes something else.
    """

    sampling_kind = Acting

    def __init__(self, env: Env, hidden: Sequence[int] = (32,), *, device: Device = "auto", seed: int = 0) -> None:
        super().__init__()
        self.env, self.hidden = env, tuple(hidden)
        self._envs = [environment(env)]
        spaces, seen, self._actions = gymnasium().spaces, self._envs[0].observation_space, self._envs[0].action_space
        if not isinstance(self._actions, spaces.Discrete | spaces.Box) or not seen.is_np_flattenable:
            raise ConfigError(f"a control policy reads numbers and takes one of some actions, or numbers from a box; {env} shows "
                              f"{seen} and takes {self._actions}")  # fmt: skip
        self._numbers = lambda x: np.asarray(spaces.flatten(seen, x), np.float32)
        self.discrete = isinstance(self._actions, spaces.Discrete)
        outputs = int(self._actions.n) if self.discrete else int(np.prod(self._actions.shape))
        with seeded(seed, purpose="control"):
            self.body = Reader(*span(spaces.flatten_space(seen)), self.hidden, outputs)
        if not self.discrete:
            self.log_std = nn.Parameter(torch.full((outputs,), -0.7))
        self.to(device_of(device))

    @property
    def device(self) -> torch.device:
        return self.body.last.weight.device

    def reader(self, hidden: Sequence[int], outputs: int) -> Reader:
        """Another network that reads the same observations, on the policy's device."""
        return Reader(self.body.centre, self.body.width, hidden, outputs).to(self.device)

    def distribution(self, observations: Float[Tensor, "*n d"]) -> Distribution:
        """Of the action at each observation."""
        out = self.body(observations)
        if self.discrete:
            return Categorical(logits=out, validate_args=False)
        return Independent(
            Normal(out, self.log_std.float().exp().expand_as(out), validate_args=False), 1, validate_args=False
        )

    @torch.no_grad()
    def sample(self, prompts: Sequence[Prompt], n: int = 1, sampling: Acting | Mapping[str, Any] = Acting(), *, seed: int | Seeds = 0,
               context: dict[str, list[Any]] | None = None) -> Rollouts:  # fmt: skip
        """n episodes from each start; a row's draws, its environment's among them, depend on (seed, row) alone."""
        if not prompts:
            raise ConfigError("sample() wants at least one prompt")
        sampling = filled(self.sampling_kind(), sampling, "sampling")
        group = [i for i in range(len(prompts)) for _ in range(n)]
        seeds = times(seed, n)
        base, numbers = numbered(seeds, len(group))
        noise = of_rows(self._noise(self._longest(sampling)), seeds, len(group), "actions")
        starts = [derive(0, purpose=f"start {prompts[i]}") % 2**31 for i in group]
        luck = [derive(base, k, purpose="environment") % 2**31 for k in numbers]
        parts = [slice(i, i + AT_ONCE) for i in range(0, len(group), AT_ONCE)]
        ran = _Ran.concat([self._run(starts[p], luck[p], noise[p], sampling.greedy) for p in parts])
        most = int(ran.length.max())
        return Rollouts(
            prompts=list(prompts),
            group=torch.tensor(group),
            completions=ran.episodes(),
            mask=torch.arange(most) < ran.length[:, None],
            logprobs=ran.logprobs[:, :most],
            finished=ran.terminated,
            actions=Acted(ran.observations[:, :most], ran.actions[:, :most]),
            sampling=sampling,
            context={k: [v[i] for i in group] for k, v in (context or {}).items()},
        )

    def logprobs(self, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        """``log pi(a_t|s_t)`` of what was done, with grad; 0 where an episode has ended."""
        acted = rollouts.actions
        out = self.distribution(acted.observations).log_prob(acted.actions.to(self.device))
        return out.masked_fill(~rollouts.mask.to(out.device), 0.0)

    def freeze(self, which: str = "base") -> FrozenPolicy:
        """A frozen twin.

        Args:
            which: "base" or "now", a copy with the weights as they are (freeze before you train); or the folder of a saved policy.
        """
        if which in ("base", "now"):
            return FrozenPolicy(self, weights={n: p.detach().clone() for n, p in self.named_parameters()})
        return type(self).load(which, device=self.device).freeze("now")

    def weights(self, *, adapter: bool = True) -> nn.Module:
        """The module whose weights make this policy what it is."""
        return self

    def save(self, folder: str | Path) -> None:
        """Weights and what else `load` needs.

        Raises:
            ConfigError: its environment has no id.
        """
        if not isinstance(self.env, str):
            raise ConfigError(
                "only a policy whose environment has a gymnasium id can be saved: register it, and name its id"
            )
        with new_folder(Path(folder)) as part:
            save_tensors(part / "control.safetensors", {n: p.detach().cpu() for n, p in self.named_parameters()})
            write_json(part / "control.json", {"env": self.env, "hidden": self.hidden})

    @classmethod
    def load(cls, source: str | Path, *, device: Device = "auto", seed: int = 0) -> "ControlPolicy":
        """A saved policy, or a fresh one for an environment's id."""
        if not (Path(source) / "control.json").is_file():
            return cls(str(source), device=device, seed=seed)
        made = cls(**json.loads((Path(source) / "control.json").read_text()), device=device)
        made.load_state_dict(load_tensors(Path(source) / "control.safetensors"))
        return made

    def _longest(self, sampling: Acting) -> int:
        spec = getattr(self._envs[0], "spec", None)
        steps = sampling.steps or (spec.max_episode_steps if spec is not None else None)
        if steps is None:
            raise ConfigError(f"{self.env} has no end of its own: say the longest episode (sampling.steps)")
        return int(steps)

    def _noise(self, steps: int) -> Callable[[int, torch.Generator], Tensor]:
        """Uniform numbers, one for each choice."""
        each = () if self.discrete else (self.body.last.out_features,)
        return lambda n, g: torch.rand(n, steps, *each, generator=g)

    def _chosen(self, found: Any, noise: Tensor, greedy: bool) -> Tensor:
        """The likeliest action, or the one at a uniform number's place in the distribution."""
        if not self.discrete:
            return found.mean if greedy else found.mean + found.stddev * torch.special.ndtri(noise.clamp(min=1e-7))
        chances = found.probs
        last = chances.shape[-1] - 1
        return chances.argmax(-1) if greedy else (chances.cumsum(-1) < noise[:, None]).sum(-1).clamp(max=last)

    def _told(self, action: Any) -> Any:
        """An action as the environment takes it."""
        if self.discrete:
            return int(action) + int(self._actions.start)
        box = self._actions
        return np.clip(action.reshape(box.shape), box.low, box.high).astype(box.dtype)

    def _run(self, starts: list[int], luck: list[int], noise: Tensor, greedy: bool) -> "_Ran":
        """Episodes side by side."""
        self._envs += [environment(self.env) for _ in range(len(starts) - len(self._envs))]
        n, steps = noise.shape[:2]
        seen = np.zeros((n, steps + 1, len(self.body.centre)), np.float32)
        rewards, length, ended = np.zeros((n, steps), np.float32), [0] * n, [False] * n
        actions = torch.zeros(noise.shape, dtype=torch.long if self.discrete else torch.float32)
        logprobs = torch.zeros(n, steps)
        for i, env in enumerate(self._envs[:n]):
            seen[i, 0] = self._numbers(env.reset(seed=starts[i])[0])
            env.unwrapped.np_random = np.random.default_rng(luck[i])
        going = list(range(n))
        for t in range(steps):
            found = self.distribution(torch.from_numpy(seen[going, t]))
            action = self._chosen(found, noise[going, t].to(self.device), greedy)
            logprobs[going, t], actions[going, t] = found.log_prob(action).cpu(), action.cpu()
            left = []
            for i, a in zip(going, actions[going, t].numpy(), strict=True):
                there, rewards[i, t], ended[i], cut, _ = self._envs[i].step(self._told(a))
                seen[i, t + 1], length[i] = self._numbers(there), t + 1
                left += [i] * (not (ended[i] or cut))
            if not (going := left):
                break
        return _Ran(
            torch.from_numpy(seen),
            actions,
            torch.from_numpy(rewards),
            logprobs,
            torch.tensor(length),
            torch.tensor(ended),
        )


@dataclass(frozen=True)
class _Ran(Batch):
    """Episodes beside each other, all with room for equally many steps."""

    observations: Float[Tensor, "n s d"]
    actions: Tensor
    rewards: Float[Tensor, "n t"]
    logprobs: Float[Tensor, "n t"]
    length: Int[Tensor, "n"]
    terminated: Bool[Tensor, "n"]

    def episodes(self) -> list[Episode]:
        all_of = (self.observations, self.actions, self.rewards, self.length.tolist(), self.terminated.tolist())
        return [Episode(o[: k + 1], a[:k], r[:k], e) for o, a, r, k, e in zip(*all_of, strict=True)]
