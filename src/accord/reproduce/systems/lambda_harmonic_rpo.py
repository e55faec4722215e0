"""46 lambda-harmonic RPO: does preference beside denoising, stopped by a harmonic reward, keep prompts without losing the subject?"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from accord.algorithms import RewardPreference, SubjectPair, Supervised, subject_pairs
from accord.engine import derive
from accord.feedback import Example
from accord.identity import reference_vector, similarity
from accord.policies.diffusion import DiffusionPolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.luck import luck
from accord.reproduce.portraits import SAMPLING, asked, drawn, gold_of, named, quality, subject, train, watched
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.rewards import Reward, Scores, combine, score
from accord.worlds.portraits import PortraitFaces, PromptReader, policy
from accord.worlds.portraits.prompts import describe
from accord.worlds.portraits.proxies import stacked

REFERENCES, PROMPTS, STEPS, BATCH, EVERY, TESTS = 4, 8, 300, 8, 50, 192
DEARER = 2.75
"""What a pair costs in pictures that are only denoised: the controls see so many more at a step."""
LR, LRS = (
    dict.fromkeys(("denoise", "denoise-stopped", "dreambooth-32", "rpo-unstopped", "rpo", "rpo-arithmetic"), 1e-3),
    (1e-3, 3e-3, 1e-2),
)

CLAIM = Claim(
    name="lambda-harmonic-rpo",
    world="portraits",
    statement="From 4 pictures of a person, at equal compute, preference beside denoising and early stopping by the harmonic reward give more gold "
    "(harmonic mean of identity and prompt) on other prompts than denoising alone, stopped alike or not, and not less than DreamBooth with 32 class pictures.",
    primaries=(Primary("rpo", "denoise", delta=0.05), Primary("rpo", "denoise-stopped", delta=0.05), Primary("rpo", "dreambooth-32", "not worse", delta=0.05)),
    arms=("untaught", "denoise", "denoise-stopped", "dreambooth-32", "rpo-unstopped", "rpo", "rpo-arithmetic"),
    equal=("denoise", "denoise-stopped", "dreambooth-32", "rpo"),
    settings=(
        ("references", str(REFERENCES)),
        ("generated", str(PROMPTS * 4)),
        ("steps", str(STEPS)),
        ("batch", f"{BATCH} pairs; of pictures {round(DEARER * BATCH)}"),
        ("lr", f"{LR}, of {LRS}, cosine"),
        ("validated every", str(EVERY)),
        ("lambda", "0 for labels, 0.5 to stop"),
        ("tests", f"{TESTS} pictures"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Given:
    """What an arm of a seed has: the subject's pictures, and pictures that the policy made of the class."""

    seed: int
    person: Tensor
    pictures: Tensor
    references: list[Example]
    made: list[Example]
    texts: list[str]


Lesson = Callable[[DiffusionPolicy, Given], None]


def subjects(lesson: Lesson | None = None) -> Arm:
    """A policy with a fresh LoRA after a lesson about the seed's subject."""

    def arm(seed: int) -> Measures:
        person, pictures, shown = subject(seed, REFERENCES)
        trained, texts = policy(lora=16, seed=luck(seed)), named(asked(PROMPTS, seed))
        references = examples(named(describe(shown, seed, mention=0.8)), pictures)
        with metered():
            made = [e for i in range(4) for e in examples(texts, drawn(trained, texts, seed + i, SAMPLING))]
        if lesson is not None:
            lesson(trained, Given(seed, person, pictures, references, made, texts))
        return measured(trained, named(asked(TESTS, seed, "test")), seed, person)

    return arm


def examples(texts: Sequence[str], pictures: Iterable[Tensor]) -> list[Example]:
    return [Example(prompt=t, completion=x) for t, x in zip(texts, pictures, strict=True)]


def denoise(trained: DiffusionPolicy, given: Given, lr: float, *, stop: str | None = None) -> None:
    """Denoising of the subject's pictures, stopped by the reward of that name."""
    fitted(
        Supervised(trained),
        given.references,
        given,
        lr=lr,
        batch_size=round(DEARER * BATCH),
        **stopping(trained, given, stop),
    )


def dreambooth(trained: DiffusionPolicy, given: Given, lr: float) -> None:
    rows = [*given.references * (len(given.made) // REFERENCES), *given.made]
    fitted(Supervised(trained), rows, given, lr=lr, batch_size=round(DEARER * BATCH), **stopping(trained, given, None))


def rpo(trained: DiffusionPolicy, given: Given, lr: float, *, stop: str | None = "harmonic") -> None:
    options = stopping(trained, given, stop)
    fitted(RewardPreference(trained), paired(given.references, given.made), given, lr=lr, batch_size=BATCH, **options)


def fitted(algorithm: Any, rows: Sequence[Any], given: Given, **options: Any) -> None:
    train(algorithm, rows, given.seed, steps=STEPS, **options)


def stopping(trained: DiffusionPolicy, given: Given, how: str | None) -> dict[str, Any]:
    """Options by which training is watched and, if by a reward, keeps the checkpoint that this likes most."""
    texts = named(asked(TESTS, given.seed, "test"))
    watch = watched(
        trained, given.seed, texts=texts, judge=both(given.person), proxy=harmonic(given.pictures, how or "harmonic")
    )
    if how is None:
        return {"evaluate": watch, "evaluate_every": EVERY}
    look = liked(trained, given.texts, harmonic(given.pictures, how), given.seed)
    return {"evaluate": lambda step: {**watch(step), **look(step)}, "evaluate_every": EVERY, "select": "reward"}


def both(person: Tensor) -> Reward:
    """What this experiment's gold is: of each picture, the harmonic mean of identity and prompt, times its soundness."""
    judge = gold_of(person)

    def harmonic_mean(**samples: Any) -> Scores:
        said = score(judge, **samples)
        a, b = said.aspects["identity"], said.aspects["prompt"]
        return replace(said, values=said.aspects["structure"] * 2 * a * b / (a + b).clamp(min=1e-6))

    return harmonic_mean


def measured(trained: DiffusionPolicy, texts: list[str], seed: int, person: Tensor) -> Measures:
    return quality(texts, drawn(trained, texts, derive(seed, purpose="tests"), SAMPLING), judge=both(person))


def paired(references: list[Example], made: list[Example]) -> list[SubjectPair]:
    """Labels by the prompt alone (lambda 0)."""
    return subject_pairs(references, made, fits)


@torch.no_grad()
def fits(*, prompts: Sequence[Any], completions: Any, **columns: Any) -> Tensor:
    """How well pictures fit their prompts, wherever the method asks: mean probability of the wishes, in (0, 1)."""
    return score(PromptReader(), prompts=prompts, completions=stacked(completions)).values


def harmonic(references: Tensor, how: Any) -> Reward:
    """The lambda-harmonic reward at 0.5, ``1 / (0.5 / s_I + 0.5 / s_T)``: identity and prompt, both in [0, 1], so that neither can pay
    for the other's lack."""
    faces = PortraitFaces()
    vector = reference_vector(faces, references)

    def identity(*, prompts: Any, completions: Any, **columns: Any) -> Tensor:
        with torch.no_grad():
            v, _ = faces(completions)
            return (1 + similarity(v, vector.expand_as(v))) / 2

    return combine({"identity": identity, "prompt": fits}, how, weights={"identity": 0.5, "prompt": 0.5})


def liked(trained: DiffusionPolicy, texts: list[str], reward: Reward, seed: int) -> Callable[[int], Measures]:
    """What the reward says of the policy on the training prompts."""

    def evaluate(step: int) -> Measures:
        images = drawn(trained, texts * 4, seed + 77, SAMPLING)
        return {"reward": float(score(reward, prompts=texts * 4, completions=images).values.mean())}

    return evaluate


def taught(lesson: Callable[..., None], **options: Any) -> Maker:
    return lambda lr: subjects(partial(lesson, lr=lr, **options))


MAKERS = {
    "denoise": taught(denoise),
    "denoise-stopped": taught(denoise, stop="harmonic"),
    "dreambooth-32": taught(dreambooth),
    "rpo-unstopped": taught(rpo, stop=None),
    "rpo": taught(rpo),
    "rpo-arithmetic": taught(rpo, stop="sum"),
}
ARMS = {"untaught": subjects(), **at_best(MAKERS, LR)}
TUNING = at_rates(MAKERS, LRS, only=("denoise", "denoise-stopped", "dreambooth-32", "rpo"))
