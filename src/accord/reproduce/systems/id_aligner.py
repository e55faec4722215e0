"""01 ID-Aligner: does reward feedback keep a person better than more denoising, by an image adapter and by LoRA alike?"""

from typing import Any

import torch
from torch import Tensor

from accord.algorithms import IDAligner, Supervised
from accord.feedback import Example, with_picture
from accord.identity import IdentityConsistency, reference_vector
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.portraits import SAMPLING, asked, drawn, named, oracle, quality, subject, train
from accord.rewards import Reward, Scores, combine
from accord.worlds.portraits import PortraitFaces, PromptReader, Structure, policy
from accord.worlds.portraits.generator import adapted
from accord.worlds.portraits.gold import gold
from accord.worlds.portraits.prompts import describe
from accord.worlds.portraits.train import portraits_of

REFERENCES, STEPS, BATCH, LR, ADAPTER_LR, LAST, TESTS = 5, 40, 8, 3e-4, 3e-4, 1, 128
WARM, WARM_LR = 150, 1e-3
"""Denoising on the references with which every LoRA begins."""
DEAR = 7
"""Denoising steps for the network calls of one feedback update."""

CLAIM = Claim(
    name="id-aligner",
    statement="With LoRA from 5 pictures and with an image adapter from one, identity and aesthetic rewards raise gold identity over as much "
    "compute of denoising, with structure not worse.",
    primaries=(
        Primary("lora", "lora-denoise", measure="identity"),
        Primary("adapter", "adapter-denoise", measure="identity"),
        Primary("lora", "lora-denoise", margin="not worse", measure="structure"),
        Primary("adapter", "adapter-denoise", margin="not worse", measure="structure"),
    ),
    arms=(
        "base",
        "oracle",
        "lora-denoise",
        "lora",
        "adapter-base",
        "adapter-denoise",
        "adapter",
        "placebo",
    ),
    equal=("lora-denoise", "lora", "adapter-denoise", "adapter", "placebo"),
    settings=(
        ("references", f"{REFERENCES} / 1"),
        ("warm-up of LoRA", f"{WARM} denoising steps, lr {WARM_LR}"),
        ("feedback updates", str(STEPS)),
        ("denoising steps", str(STEPS * DEAR)),
        ("batch", str(BATCH)),
        ("lr", f"{LR} / {ADAPTER_LR}"),
        ("aesthetics", "0.4 prompt + 1.0 structure"),
        ("tests", f"{TESTS} pictures"),
    ),
    first_seed=200,
)  # fmt: skip


def run(arm: str, seed: int) -> Measures:
    person, pictures, shown = subject(seed, REFERENCES)
    return (
        adapter(arm, seed, person, pictures) if arm.startswith("adapter") else lora(arm, seed, person, pictures, shown)
    )


def aesthetics() -> Reward:
    return combine({"prompt": PromptReader(), "structure": Structure()}, weights={"prompt": 0.4, "structure": 1.0})


def lora(arm: str, seed: int, person: Tensor, pictures: Tensor, shown: Any) -> Measures:
    trained, encoder = policy(lora=16), PortraitFaces()
    rows = [
        Example(prompt=t, completion=x)
        for t, x in zip(named(describe(shown, seed, mention=0.8)), pictures, strict=True)
    ]
    texts = named(asked(200, seed))
    options: Any = {"batch_size": BATCH, "lr": LR, "other": arm == "placebo"}
    if arm != "base":
        train(Supervised(trained), rows, seed, steps=WARM, **{**options, "lr": WARM_LR})
    if arm == "oracle":
        oracle(trained, seed, texts, person=person, lr=LR)
    elif arm == "lora-denoise":
        train(Supervised(trained), rows, seed, steps=STEPS * DEAR, **options)
    elif arm != "base":
        identity = IdentityConsistency(encoder, reference_vector(encoder, pictures))
        algorithm = IDAligner(
            trained,
            identity,
            aesthetics(),
            id_weight=1.0,
            aes_weight=1.0,
            last=LAST,
            sampling=SAMPLING,
            prompts=texts,
            recompute=False,
        )
        train(algorithm, rows, seed, steps=STEPS, **options)
    return measure(trained, named(asked(TESTS, seed, "test")), seed, person, tries=4 if arm == "oracle" else 1)


def adapter(arm: str, seed: int, person: Tensor, pictures: Tensor) -> Measures:
    """Trained on other people, held_out on the subject: an adapter serves anybody."""
    trained, encoder = adapted(), PortraitFaces()
    if arm == "adapter-denoise":
        train(
            Supervised(trained),
            portraits_of(trained, 300, seed),
            seed,
            steps=STEPS * DEAR,
            batch_size=BATCH,
            lr=ADAPTER_LR,
        )
    elif arm != "adapter-base":
        with torch.no_grad():
            vectors, _ = encoder(torch.cat([subject(seed + 1000 + i, 1)[1] for i in range(100)]))
        rows = [with_picture(t, vectors[i % 100]) for i, t in enumerate(asked(200, seed))]
        algorithm = IDAligner(
            trained,
            IdentityConsistency(encoder),
            aesthetics(),
            id_weight=1.0,
            aes_weight=1.0,
            last=LAST,
            sampling=SAMPLING,
            recompute=False,
        )
        train(algorithm, rows, seed, steps=STEPS, batch_size=BATCH, lr=ADAPTER_LR)
    with torch.no_grad():
        vector = encoder(pictures[:1])[0][0]
    return measure(trained, [with_picture(t, vector) for t in asked(TESTS, seed, "test")], seed, person)


def measure(trained: Any, texts: list[Any], seed: int, person: Tensor, tries: int = 1) -> Measures:
    def judge(*, prompts: Any, **columns: Any) -> Scores:
        return gold(prompts=prompts, person=[person] * len(prompts), **columns)

    return quality(texts, drawn(trained, texts, seed, SAMPLING, judge=judge, tries=tries), person=person)
