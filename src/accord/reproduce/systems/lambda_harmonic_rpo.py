"""46 lambda-harmonic RPO: does preference beside denoising, stopped by a harmonic reward, keep prompts without losing the subject?"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from accord.algorithms import RewardPreference, SubjectPair, Supervised, subject_pairs
from accord.engine import derive
from accord.feedback import Example
from accord.identity import reference_vector, similarity
from accord.policies.diffusion import DiffusionPolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.portraits import SAMPLING, asked, drawn, named, oracle, quality, subject, train
from accord.rewards import Reward, combine, score
from accord.worlds.portraits import PortraitFaces, PromptReader, policy
from accord.worlds.portraits.prompts import describe

REFERENCES, PROMPTS, STEPS, BATCH, LR, EVERY = 4, 8, 200, 4, 3e-3, 25

CLAIM = Claim(
    name="lambda-harmonic-rpo",
    statement="From 4 pictures of a person, preference beside denoising and early stopping by the harmonic reward give more gold "
    "(harmonic mean of identity and prompt) on other prompts than denoising alone, and not less than DreamBooth with 32 class pictures.",
    primaries=(Primary("rpo", "denoise"), Primary("rpo", "dreambooth-32", margin="not worse")),
    arms=(
        "base",
        "oracle",
        "denoise",
        "denoise-stopped",
        "dreambooth-32",
        "rpo-unstopped",
        "rpo",
        "rpo-arithmetic",
        "placebo",
    ),
    equal=("denoise-stopped", "rpo", "placebo"),
    settings=(
        ("references", str(REFERENCES)),
        ("generated", str(PROMPTS * 4)),
        ("steps", str(STEPS)),
        ("batch", str(BATCH)),
        ("lr", str(LR)),
        ("validated every", str(EVERY)),
        ("lambda", "0 for labels, 0.5 to stop"),
    ),
)  # fmt: skip


def run(arm: str, seed: int) -> Measures:
    person, pictures, shown = subject(seed, REFERENCES)
    trained = policy(lora=16)
    texts = named(asked(PROMPTS, seed))
    references = [
        Example(prompt=t, completion=x)
        for t, x in zip(named(describe(shown, seed, mention=0.8)), pictures, strict=True)
    ]
    with metered():
        made = [
            Example(prompt=t, completion=x)
            for i in range(4)
            for t, x in zip(texts, drawn(trained, texts, seed + i, SAMPLING), strict=True)
        ]
    options: Any = {"steps": STEPS, "batch_size": BATCH, "lr": LR, "other": arm == "placebo"}
    if arm in ("denoise-stopped", "rpo", "rpo-arithmetic", "placebo"):
        judge = harmonic(pictures, "sum" if arm == "rpo-arithmetic" else "harmonic")
        options |= {"evaluate": liked(trained, texts, judge, seed), "evaluate_every": EVERY, "select": "reward"}
    if arm == "oracle":
        train(Supervised(trained), references, seed, **{**options, "steps": 150})
        oracle(trained, seed, texts, person=person, lr=3e-4)
    elif arm == "dreambooth-32":
        train(
            Supervised(trained),
            [*references * (len(made) // REFERENCES), *made],
            seed,
            **{**options, "batch_size": 2 * BATCH},
        )
    elif arm.startswith("denoise"):
        train(Supervised(trained), references, seed, **options)
    elif arm != "base":
        train(RewardPreference(trained), paired(references, made), seed, **options)
    return measured(trained, named(asked(48, seed, "test")), seed, person)


def measured(trained: DiffusionPolicy, texts: list[str], seed: int, person: Tensor) -> Measures:
    found = quality(texts, drawn(trained, texts, derive(seed, purpose="tests"), SAMPLING), person=person)
    a, b = found["identity"], found["prompt"]
    return {**found, "weighted": found["gold"], "gold": 2 * a * b / max(a + b, 1e-6)}


def paired(references: list[Example], made: list[Example]) -> list[SubjectPair]:
    """Labels by the prompt reader alone (lambda 0)."""
    reward: Reward = lambda *, prompts, completions, **_: wishes(prompts, torch.stack(list(completions)))  # noqa: E731
    return subject_pairs(references, made, reward)


def wishes(prompts: Sequence[Any], images: Tensor) -> Tensor:
    """Geometric mean of the probabilities of the wishes, in (0, 1]."""
    with torch.no_grad():
        return score(PromptReader(), prompts=prompts, completions=images).values.exp()


def harmonic(references: Tensor, how: Any) -> Reward:
    """The lambda-harmonic reward at 0.5: identity and prompt, both in [0, 1]."""
    faces = PortraitFaces()
    vector = reference_vector(faces, references)

    def identity(*, prompts: Any, completions: Any, **columns: Any) -> Tensor:
        with torch.no_grad():
            v, _ = faces(completions)
            return (1 + similarity(v, vector.expand_as(v))) / 2

    def prompt(*, prompts: Any, completions: Any, **columns: Any) -> Tensor:
        return (1 + wishes(prompts, completions)) / 2

    return combine({"identity": identity, "prompt": prompt}, how, weights={"identity": 0.5, "prompt": 0.5})


def liked(trained: DiffusionPolicy, texts: list[str], reward: Reward, seed: int) -> Callable[[int], Measures]:
    """What the reward says of the policy on the training prompts."""

    def evaluate(step: int) -> Measures:
        images = drawn(trained, texts * 4, seed + 77, SAMPLING)
        return {"reward": float(score(reward, prompts=texts * 4, completions=images).values.mean())}

    return evaluate
