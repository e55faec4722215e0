"""41 ToolRL: does a reward that counts every name, key and value of a call teach more than one that wants all of it right?

Two findings a request, for each of which a tool has to be called; the episode is the turn of the calls. What is measured is the share of
requests, none of them seen in training, whose calls are all right: they would find what is wanted.
"""

from typing import Any

from accord.algorithms import GRPO, Supervised
from accord.engine import fit
from accord.feedback import Example, Task
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.course import note
from accord.reproduce.letters import CALM, train
from accord.reproduce.luck import luck
from accord.rewards import ToolCalls, score
from accord.rewards.tool_calls import Granularity
from accord.worlds.letters import policy, tasks
from accord.worlds.letters.demonstrations import called
from accord.worlds.letters.feedback import SAMPLING
from accord.worlds.letters.tasks import Kind

STEPS, BATCH, GROUP, LR, TESTS = 40, 12, 4, 1e-4, 300
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
    settings=(("steps", str(STEPS)), ("prompts x answers", f"{BATCH} x {GROUP}"), ("lr", f"{LR}, cosine")),
)  # fmt: skip


def lookups(n: int, seed: int, **split: Any) -> list[Task]:
    """Requests for two findings, with their calls as text."""
    asked = [t for t in tasks(5 * n, seed=seed, kinds=KINDS, **split) if len(t.columns["calls"]) == 2][:n]
    return [t.model_copy(update={"columns": {**t.columns, "calls": called(t)}}) for t in asked]


def exact(trained: LanguagePolicy, seed: int, n: int) -> Measures:
    """Share of held-out requests whose calls are all right, and the mean of the fine reward."""
    asked = lookups(n, seed, split="test")
    said = trained.sample([t.prompt for t in asked], 1, SAMPLING, seed=seed).completions
    found = {g: score(ToolCalls(granularity=g, **FORM), prompts=[t.prompt for t in asked], completions=said, calls=[t.columns["calls"] for t in asked])  # type: ignore[arg-type]
             for g in ("coarse", "fine")}  # fmt: skip
    return {"gold": float((found["coarse"].aspects["correct"] > 0).float().mean()), "fine": float(found["fine"].values.mean()),
            "form": float(found["fine"].aspects["format"].mean())}  # fmt: skip


def watched(trained: LanguagePolicy, seed: int) -> Any:
    def look(step: int) -> Measures:
        with metered():
            return note(step, {"reward/gold": exact(trained, seed, 100)["gold"]})

    return look


def rewarded(granularity: Granularity) -> Arm:
    def arm(seed: int) -> Measures:
        trained = policy()
        algorithm = GRPO(trained, ToolCalls(granularity=granularity, **FORM), group_size=GROUP, sampling=SAMPLING)  # type: ignore[arg-type]
        train(
            algorithm,
            lookups(1000, seed + 1),
            seed,
            steps=STEPS,
            batch_size=BATCH,
            lr=LR,
            evaluate=watched(trained, seed),
        )
        with metered():
            return exact(trained.eval(), seed, TESTS)

    return arm


def sft(seed: int) -> Measures:
    trained = policy()
    shown = [Example(prompt=t.prompt, completion=t.columns["calls"]) for t in lookups(1000, seed + 1)]
    fit(Supervised(trained), shown, steps=STEPS, batch_size=BATCH, lr=LR, seed=luck(seed), evaluate=watched(trained, seed), evaluate_every=STEPS // 4,
        progress=False, **CALM)  # fmt: skip
    with metered():
        return exact(trained.eval(), seed, TESTS)


ARMS = {"sft": sft, **{g: rewarded(g) for g in ("coarse", "intermediate", "fine")}}
