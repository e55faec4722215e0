"""01 ID-Aligner: does reward feedback keep a person better than more denoising, by an image adapter and by LoRA alike?"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from accord.algorithms import IDAligner, Supervised
from accord.feedback import Example, with_picture
from accord.identity import IdentityConsistency, reference_vector
from accord.policies.diffusion import DiffusionPolicy
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.luck import luck
from accord.reproduce.portraits import (
    SAMPLING,
    WORTH,
    asked,
    drawn,
    gold_of,
    named,
    oracle,
    quality,
    subject,
    train,
    watched,
)
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.rewards import Reward, combine
from accord.worlds.portraits import PortraitFaces, PromptReader, Structure, policy
from accord.worlds.portraits.generator import adapted
from accord.worlds.portraits.prompts import describe
from accord.worlds.portraits.train import portraits_of

REFERENCES, STEPS, BATCH, TESTS = 5, 60, 8, 192
LR, LRS = dict.fromkeys(("lora-denoise", "lora", "adapter-denoise", "adapter"), 3e-4), (1e-4, 3e-4, 1e-3, 3e-3)
ORACLE_LR = 3e-4
LAST = 3
"""Feedback stops in one of so many last steps of eight. At the very last (noise 0.37) identity's gradient in the adapter is a
thirteenth of what it is at the first, at the third from last twice as much: little is decided there."""
WARM, WARM_LR = 150, 1e-3
"""Denoising on the references with which every LoRA begins."""
DEAR = {"lora": 7, "adapter": 5}
"""Denoising steps for the compute of one feedback update."""

CLAIM = Claim(
    name="id-aligner",
    world="portraits",
    statement="With LoRA from 5 pictures and with an image adapter from one, identity and aesthetic rewards raise gold identity over as much "
    "compute of denoising, with structure not worse.",
    primaries=(
        Primary("lora", "lora-denoise", measure="identity", delta=0.05),
        Primary("adapter", "adapter-denoise", measure="identity", delta=0.05),
        Primary("lora", "lora-denoise", "not worse", measure="structure"),
        Primary("adapter", "adapter-denoise", "not worse", measure="structure"),
    ),
    arms=("untaught", "oracle", "lora-denoise", "lora", "adapter-untaught", "adapter-denoise", "adapter"),
    equal=("lora-denoise", "lora", "adapter-denoise", "adapter"),
    settings=(
        ("references", f"{REFERENCES} / 1"),
        ("warm-up of LoRA", f"{WARM} denoising steps, lr {WARM_LR}"),
        ("feedback updates", str(STEPS)),
        ("denoising steps", ", ".join(f"{name} {STEPS * n}" for name, n in DEAR.items())),
        ("batch", str(BATCH)),
        ("lr", f"{LR}, of {LRS}, cosine"),
        ("feedback stops in the last", f"{LAST} of {SAMPLING.steps} steps"),
        ("aesthetics", str(WORTH)),
        ("tests", f"{TESTS} pictures"),
    ),
)  # fmt: skip


def aesthetics() -> Reward:
    return combine({"prompt": PromptReader(), "structure": Structure()}, weights=WORTH)


def feedback(trained: Any, identity: Reward, **options: Any) -> IDAligner:
    return IDAligner(trained, identity, aesthetics(), id_weight=1.0, aes_weight=1.0, last=LAST, sampling=SAMPLING,
                     recompute=False, **options)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A person with their pictures and prompts about them."""

    seed: int
    person: Tensor
    pictures: Tensor
    rows: list[Example]
    texts: list[str]


def lora(teach: Callable[..., None] | None = None, lr: float = ORACLE_LR, *, tries: int = 1) -> Arm:
    """A LoRA for the subject that begins with denoising their pictures (but the base) and is taught so."""

    def arm(seed: int) -> Measures:
        person, pictures, shown = subject(seed, REFERENCES)
        trained = policy(lora=16, seed=luck(seed))
        said = named(describe(shown, seed, mention=0.8))
        rows = [Example(prompt=t, completion=x) for t, x in zip(said, pictures, strict=True)]
        if teach is not None:
            train(Supervised(trained), rows, seed, steps=WARM, batch_size=BATCH, lr=WARM_LR)
            teach(trained, Subject(seed, person, pictures, rows, named(asked(200, seed))), lr)
        return measure(trained, named(asked(TESTS, seed, "test")), seed, person, tries)

    return arm


def by_gold(trained: DiffusionPolicy, about: Subject, lr: float) -> None:
    oracle(trained, about.seed, about.texts, person=about.person, lr=lr)


def known(about: Subject) -> Reward:
    """Nearness to the person as their pictures show them."""
    faces = PortraitFaces()
    return IdentityConsistency(faces, reference_vector(faces, about.pictures))


def by_denoising(trained: DiffusionPolicy, about: Subject, lr: float) -> None:
    train(Supervised(trained), about.rows, about.seed, steps=STEPS * DEAR["lora"], batch_size=BATCH, lr=lr,
          evaluate=course(trained, about))  # fmt: skip


def by_feedback(trained: DiffusionPolicy, about: Subject, lr: float) -> None:
    algorithm = feedback(trained, known(about), prompts=about.texts)
    train(algorithm, about.rows, about.seed, steps=STEPS, batch_size=BATCH, lr=lr, evaluate=course(trained, about))


def course(trained: DiffusionPolicy, about: Subject) -> Callable[[int], Measures]:
    texts = named(asked(TESTS, about.seed, "test"))
    return watched(trained, about.seed, texts=texts, judge=gold_of(about.person), proxy=known(about))


TeachAll = Callable[[DiffusionPolicy, int, Callable[[int], Measures], float], None]
"""Trains an adapter with a seed, watched by a hook, at a rate."""


def adapter(teach: TeachAll | None = None, lr: float = 0.0) -> Arm:
    """An image adapter, taught so on other people, and measured on the subject: it serves anybody."""

    def arm(seed: int) -> Measures:
        person, pictures, _ = subject(seed, REFERENCES)
        trained = adapted()
        with torch.no_grad():
            vector = PortraitFaces()(pictures[:1])[0][0]
        texts = [with_picture(t, vector) for t in asked(TESTS, seed, "test")]
        if teach is not None:
            proxy = IdentityConsistency(PortraitFaces())
            teach(trained, seed, watched(trained, seed, texts=texts, judge=gold_of(person), proxy=proxy), lr)
        return measure(trained, texts, seed, person)

    return arm


def others_by_denoising(trained: DiffusionPolicy, seed: int, watch: Callable[[int], Measures], lr: float) -> None:
    rows = portraits_of(trained, 300, seed)
    train(Supervised(trained), rows, seed, steps=STEPS * DEAR["adapter"], batch_size=BATCH, lr=lr, evaluate=watch)


def others_by_feedback(trained: DiffusionPolicy, seed: int, watch: Callable[[int], Measures], lr: float) -> None:
    faces = PortraitFaces()
    with torch.no_grad():
        vectors, _ = faces(torch.cat([subject(seed + 1000 + i, 1)[1] for i in range(100)]))
    rows = [with_picture(t, vectors[i % 100]) for i, t in enumerate(asked(200, seed))]
    algorithm = feedback(trained, IdentityConsistency(faces))
    train(algorithm, rows, seed, steps=STEPS, batch_size=BATCH, lr=lr, evaluate=watch)


def measure(trained: Any, texts: list[Any], seed: int, person: Tensor, tries: int = 1) -> Measures:
    judge = gold_of(person)
    return quality(texts, drawn(trained, texts, seed, SAMPLING, judge=judge, tries=tries), judge=judge)


MAKERS: dict[str, Maker] = {
    "lora-denoise": partial(lora, by_denoising),
    "lora": partial(lora, by_feedback),
    "adapter-denoise": partial(adapter, others_by_denoising),
    "adapter": partial(adapter, others_by_feedback),
}
TAUGHT = at_best(MAKERS, LR)
ARMS = {
    "untaught": lora(),
    "oracle": lora(by_gold, tries=4),
    "lora-denoise": TAUGHT["lora-denoise"],
    "lora": TAUGHT["lora"],
    "adapter-untaught": adapter(),
    "adapter-denoise": TAUGHT["adapter-denoise"],
    "adapter": TAUGHT["adapter"],
}
TUNING = at_rates(MAKERS, LRS)
