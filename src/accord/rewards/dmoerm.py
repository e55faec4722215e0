"""DMoERM: a router that sends each request to its task's reward, and rewards of experts that were asked for one quality each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.engine import Learner, Loss, Mean, Rows, fit
from accord.engine.seeds import seeded
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison, Prompt, Task, picture_key, prompt_key
from accord.policies.adapters import Lora
from accord.policies.experts import Experts
from accord.rewards.classifier import BradleyTerry
from accord.rewards.features import Features, TrunkFeatures
from accord.rewards.fitting import FitOptions, RewardFitting, fit_reward
from accord.rewards.heads import HeadReward, counted
from accord.rewards.reward import Reward, score
from accord.rewards.routing import routed
from accord.rewards.saved import Kept, Saved
from accord.rewards.scores import Scores


class DMoERM(Saved):
    """``inner_t(x, y)`` with t = router(x): a sparse mixture over tasks, of dense mixtures over qualities (Quan 2024, arXiv 2403.01197).
    Each task's rewards have a scale of their own: they rank answers of a prompt, and compare no two prompts.

    Args:
        router: names the task of each prompt (`Router`). inner: each task's reward (`CapabilityMixture`, or any other).
    """

    def __init__(self, router: Callable[[Sequence[Prompt]], Sequence[str]], inner: Mapping[str, Reward]) -> None:
        super().__init__()
        self.router, self.inner = router, routed("task", inner)

    @property
    def settings(self) -> dict[str, Any]:
        return {"tasks": list(self.inner.rewards)}

    @property
    def parts(self) -> dict[str, Any]:
        return {"router": self.router, **{str(i): r for i, r in enumerate(self.inner.rewards.values())}}

    @property
    def fingerprint(self) -> str:
        """There is none where a part has none."""
        return ":".join([*(part.fingerprint for part in self.parts.values()), str(self.settings)])

    @classmethod
    def made(cls, kept: Kept) -> "DMoERM":
        return cls(kept.part("router"), {task: kept.part(str(i)) for i, task in enumerate(kept.settings["tasks"])})

    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], **columns: Any) -> Scores:
        return self.inner(prompts=prompts, completions=completions, **{**columns, "task": self.router(prompts)})


class Router(Saved):
    """The likeliest task of a prompt, by a linear layer on its frozen features, without any answer.

    Args:
        features: of a prompt with an empty answer. tasks: their names.
    """

    def __init__(self, features: Features, tasks: Sequence[str], *, seed: int = 0) -> None:
        super().__init__()
        if len(set(tasks)) < len(tasks) or not tasks:
            raise ConfigError(f"a router wants names of tasks, each once, but got {list(tasks)}")
        self.features, self.tasks = features, tuple(tasks)
        with seeded(seed, purpose="router"):
            self.logits = counted(nn.Linear(features.width, len(tasks)))

    @property
    def settings(self) -> dict[str, Any]:
        return {"tasks": list(self.tasks)}

    def fitted(self, asked: Sequence[Task], **training: Any) -> "Router":
        """Train it on prompts whose column `task` names their task; returns itself."""
        fit(RouterFitting(self), asked, **{"lr": 1e-2, "batch_size": 64, "epochs": 5, "progress": False, **training})
        return self

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Prompt]) -> list[str]:
        return [self.tasks[i] for i in self.of(prompts).argmax(-1).tolist()]

    def of(self, prompts: Sequence[Prompt]) -> Float[Tensor, "n t"]:
        """Logits."""
        return self.logits(self.features(prompts, [""] * len(prompts)).to(self.logits.weight)).float()


class RouterFitting(Learner):
    """Cross-entropy of the task that a prompt's column names."""

    rows = (Task,)

    def __init__(self, router: Router) -> None:
        super().__init__()
        self.router = router

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"router": self.router}

    def check(self, rows: Sequence[Task]) -> None:
        """Raises FeedbackError where a prompt names no task of the router's."""
        for i, row in enumerate(rows, 1):
            if row.columns.get("task") not in self.router.tasks:
                raise FeedbackError(f"record {i} has task={row.columns.get('task')!r}, which is none of {', '.join(self.router.tasks)}")  # fmt: skip

    def forward(self, rows: Rows) -> Loss:
        logits = self.router.of([r.prompt for r in rows])
        wanted = torch.tensor([self.router.tasks.index(r.columns["task"]) for r in rows], device=logits.device)
        right = {"accuracy": Mean.of((logits.argmax(-1) == wanted).float())}
        return Loss(nn.functional.cross_entropy(logits, wanted, reduction="sum"), float(len(rows)), right)


class CapabilityMixture(Saved):
    """``w_2 PReLU(W_1 [z_1; ...; z_K] + b_1) + b_2``, z_k the last hidden state under the adapter of quality k (the inner layer of DMoERM,
    arXiv 2403.01197). Three phases: a reward model (`BradleyTerry.fit`) on one part of people's verdicts; an adapter with a head
    for each quality, from verdicts on that quality alone (`taught`); the combination, on the other part of people's verdicts
    (`fitted`). What each expert says by its own head stays visible as an aspect.

    Args:
        base: the reward model of the first phase; its weights are frozen. qualities: names; or experts that stand on it already. lora: of each
            expert.
        hidden: width of W_1's output; the model's own without.
    """

    def __init__(
        self, base: BradleyTerry, qualities: Sequence[str] | Experts, *, lora: Lora = 8, hidden: int | None = None, seed: int = 0
    ) -> None:  # fmt: skip
        super().__init__()
        self.base = base
        self.experts = qualities if isinstance(qualities, Experts) else Experts(base, qualities, lora, seed=seed)
        self.states = ExpertFeatures(self.experts)
        width = hidden or self.states.width // len(self.experts.names)
        self.combined = HeadReward(self.states, hidden=width, activation="prelu", seed=seed)

    @property
    def settings(self) -> dict[str, Any]:
        return {"qualities": list(self.experts.names), "hidden": self.combined.hidden}

    @property
    def parts(self) -> dict[str, Any]:
        return {"base": self.base, "experts": self.experts}

    @classmethod
    def made(cls, kept: Kept) -> "CapabilityMixture":
        base = kept.part("base")
        experts = Experts.load(base, kept.folder / "experts", kept.settings["qualities"])
        return cls(base, experts, hidden=kept.settings["hidden"])

    def taught(
        self, verdicts: Mapping[str, Sequence[Comparison]], options: FitOptions | None = None, **training: Any
    ) -> "CapabilityMixture":
        """Train each expert on verdicts on its quality; returns itself.

        Raises:
            FeedbackError: an expert has no verdicts.
        """
        missing = [n for n in self.experts.names if not verdicts.get(n)]
        if missing:
            raise FeedbackError(f"no verdicts on {', '.join(missing)}: every expert wants some")
        for name in self.experts.names:
            with self.experts.on(name, train=True):
                fit_reward(RewardFitting(self.base, options or FitOptions()), verdicts[name],
                           **{"lr": 1e-3, "batch_size": 32, "epochs": 1, "progress": False, **training})  # fmt: skip
        return self

    def fitted(self, pairs: Sequence[Comparison], options: FitOptions | None = None, **training: Any) -> "CapabilityMixture":  # fmt: skip
        """Train the combination alone, on verdicts that the base has not learned from; returns itself."""
        self.combined.fitted(pairs, options, **training)
        return self

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], **columns: Any) -> Scores:
        said = score(self.combined, prompts=prompts, completions=completions)
        return said.with_values(said.values, **self.opinions(prompts, completions))

    @torch.no_grad()
    def opinions(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> dict[str, Float[Tensor, "n"]]:
        """What every expert says of answers by its own head."""
        rows = self.states(prompts, completions).split(self.states.width // len(self.experts.names), -1)
        found = {}
        for name, z in zip(self.experts.names, rows, strict=True):
            with self.experts.on(name):
                head: Any = self.base.core.score
                found[name] = head(z.to(self.base.device, head.weight.dtype)).float().mean(-1).cpu()
        return found


class ExpertFeatures:
    """The last hidden states of all experts, side by side; each computed once."""

    def __init__(self, experts: Experts) -> None:
        self.experts = experts
        self.tables = {name: TrunkFeatures(experts.trunk) for name in experts.names}
        self.width = sum(t.width for t in self.tables.values())

    @property
    def fingerprint(self) -> str:
        return f"{next(iter(self.tables.values())).fingerprint}:{','.join(self.experts.names)}"

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> Float[Tensor, "n d"]:
        parts = []
        for name, table in self.tables.items():
            with self.experts.on(name):
                parts.append(table(prompts, completions))
        return torch.cat(parts, -1)


def agreed(there: Sequence[Comparison], back: Sequence[Comparison]) -> list[Comparison]:
    """Verdicts that stayed when the two answers changed places: those of a judge who likes a place drop out.

    Args:
        there, back: on the same answers to the same prompts, shown in one order and in the other.

    Raises:
        FeedbackError: they are not.
    """
    kept = []
    for i, (a, b) in enumerate(zip(there, back, strict=True), 1):
        sides = [(picture_key(p.chosen), picture_key(p.rejected)) for p in (a, b)]
        if prompt_key(a.prompt) != prompt_key(b.prompt) or sorted(sides[0]) != sorted(sides[1]):
            raise FeedbackError(f"verdicts {i} are on different answers: give both orders of the same ones")
        if sides[0] == sides[1]:
            kept.append(a)
    return kept
