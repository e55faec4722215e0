"""41 ToolRL: does a reward that counts every name, key and value of a call teach more than one that wants all of it right?

Two findings a request, for each of which a tool has to be called; the episode is the turn of the calls. What is measured is the share of
requests, none of them seen in training (all their tools are), whose calls are all right, in any order: they would find what is wanted.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from accord.algorithms import GRPO, Supervised
from accord.feedback import Example, Task
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.course import note
from accord.reproduce.letters_arms import learned
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.rewards import ToolCalls, score
from accord.rewards.tool_calls import Granularity
from accord.worlds.letters import tasks
from accord.worlds.letters.demonstrations import called
from accord.worlds.letters.feedback import SAMPLING
from accord.worlds.letters.tasks import Kind

STEPS, BATCH, GROUP, TESTS = 40, 12, 4, 300
LR = {"sft": 1.6e-3, "coarse": 8e-4, "intermediate": 8e-4, "fine": 8e-4}
KINDS: tuple[Kind, ...] = ("lookup",)
FORM = {"column": "calls", "call": "call", "arguments": "arguments", "between": " "}

CLAIM = Claim(
    name="toolrl",
    world="letters",
    statement="GRPO on the fine reward gets the calls of more held-out requests all right than GRPO on the coarse one at equal samples and steps, and not "
    "fewer than imitation of the right calls on as many prompts.",
    primaries=(Primary("fine", "coarse", delta=0.05), Primary("fine", "sft", says="not worse", delta=0.05)),
    arms=("sft", "coarse", "intermediate", "fine"),
    equal=("coarse", "intermediate", "fine"),
    seeds=12,
    settings=(("steps", str(STEPS)), ("prompts x answers", f"{BATCH} x {GROUP}"), ("lr", f"{LR}, cosine")),
)  # fmt: skip


def lookups(n: int, seed: int, **split: Any) -> list[Task]:
    """Requests for two findings, with their calls as text."""
    asked = [t for t in tasks(5 * n, seed=seed, kinds=KINDS, **split) if len(t.columns["calls"]) == 2][:n]
    return [t.model_copy(update={"columns": {**t.columns, "calls": called(t)}}) for t in asked]


def asked(seed: int) -> list[Task]:
    """Those on which policies of a seed train."""
    return lookups(1000, seed + 1)


def shown(seed: int) -> list[Example]:
    """The same with their right calls as replies."""
    return [Example(prompt=t.prompt, completion=t.columns["calls"]) for t in asked(seed)]


def exact(trained: LanguagePolicy, seed: int, n: int = TESTS) -> Measures:
    """Share of held-out requests whose calls are all right, in any order, and the mean of the fine reward."""
    tests = lookups(n, seed, split="test")
    said = trained.sample([t.prompt for t in tests], 1, SAMPLING, seed=seed).completions
    reward = ToolCalls(**FORM)  # type: ignore[arg-type]
    found = score(
        reward, prompts=[t.prompt for t in tests], completions=said, calls=[t.columns["calls"] for t in tests]
    )
    right = found.aspects["correct"] > reward.high - 1e-4
    return {"gold": float(right.float().mean()), "fine": float(found.values.mean()), "form": float(found.aspects["format"].mean())}  # fmt: skip


def watched(trained: LanguagePolicy, seed: int) -> Any:
    def look(step: int) -> Measures:
        with metered():
            return note(step, {"reward/gold": exact(trained, seed, 100)["gold"]})

    return look


def learning(
    make: Callable[[LanguagePolicy, int], Any], lr: float, data: Callable[[int], Sequence[Any]] = asked
) -> Arm:
    return learned(make, data, measure=exact, watch=watched, steps=STEPS, batch_size=BATCH, lr=lr)


def rewarded(granularity: Granularity, lr: float) -> Arm:
    reward = ToolCalls(granularity=granularity, **FORM)  # type: ignore[arg-type]
    return learning(lambda p, seed: GRPO(p, reward, group_size=GROUP, sampling=SAMPLING), lr)


def imitated(lr: float) -> Arm:
    return learning(lambda p, seed: Supervised(p), lr, shown)


MAKERS: dict[str, Maker] = {
    "sft": imitated,
    "coarse": partial(rewarded, "coarse"),
    "intermediate": partial(rewarded, "intermediate"),
    "fine": partial(rewarded, "fine"),
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, (2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3), only=("sft", "coarse", "fine"))
