"""46 lambda-harmonic RPO: does preference beside denoising, stopped by a harmonic reward, keep prompts without losing the subject?"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from accord.algorithms import DRaFT, RewardPreference, Supervised, subject_pairs
from accord.algorithms.subject import SubjectPair
from accord.engine import derive
from accord.feedback import Example
from accord.identity import reference_vector, similarity
from accord.policies.diffusion import DiffusionPolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.portraits import PLAIN, GoldGradient, asked, drawn, named, quality, subject, train
from accord.rewards import Reward, combine, score
from accord.worlds.portraits import PortraitFaces, PromptReader, policy
from accord.worlds.portraits.prompts import describe

REFERENCES, PROMPTS, STEPS, BATCH, LR, EVERY = 4, 8, 150, 4, 1e-3, 25

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
            for t, x in zip(texts, drawn(trained, texts, seed + i, PLAIN), strict=True)
        ]
    stop = Stop(trained, texts, harmonic(pictures, "sum" if arm == "rpo-arithmetic" else "harmonic"), seed)
    stopped = arm in ("denoise-stopped", "rpo", "rpo-arithmetic", "placebo")
    options: Any = {"steps": STEPS, "batch_size": BATCH, "lr": LR, "other": arm == "placebo"}
    if stopped:
        options |= {"evaluate": stop, "evaluate_every": EVERY}
    if arm == "oracle":
        train(
            DRaFT(trained, GoldGradient(person), k=1, sampling=PLAIN, recompute=False),
            texts,
            seed,
            steps=80,
            batch_size=8,
            lr=LR,
        )
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
    if stopped:
        stop.restore()
    return measured(trained, named(asked(48, seed, "test")), seed, person)


def measured(trained: DiffusionPolicy, texts: list[str], seed: int, person: Tensor) -> Measures:
    found = quality(texts, drawn(trained, texts, derive(seed, purpose="tests"), PLAIN), person=person)
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


class Stop:
    """Keeps the weights that the reward on the training prompts likes best."""

    def __init__(self, trained: DiffusionPolicy, texts: list[str], reward: Reward, seed: int) -> None:
        self.trained, self.texts, self.reward, self.seed = trained, texts * 4, reward, seed
        self.best = -torch.inf
        self.kept: dict[str, Tensor] = {}

    def __call__(self, step: int) -> dict[str, float]:
        images = drawn(self.trained, self.texts, self.seed + 77, PLAIN)
        value = float(score(self.reward, prompts=self.texts, completions=images).values.mean())
        if value > self.best:
            self.best = value
            self.kept = {n: p.detach().clone() for n, p in self.trained.named_parameters() if p.requires_grad}
        return {"reward": value}

    @torch.no_grad()
    def restore(self) -> None:
        for n, p in self.trained.named_parameters():
            if n in self.kept:
                p.copy_(self.kept[n])
