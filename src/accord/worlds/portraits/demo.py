"""The main job on pictures: make a generator know one new face from one picture, then bring it into accord with rewards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accord.algorithms import IDAligner, Supervised
from accord.engine import Run, derive, fit
from accord.engine.fit import Resume
from accord.evaluation import Probe, write_report
from accord.evaluation.pictures import copying, save_picture
from accord.feedback import Example, Task
from accord.identity import IdentityConsistency, reference_vector
from accord.policies.diffusion import Denoising
from accord.rewards import Reward, combine
from accord.worlds.portraits.generator import policy
from accord.worlds.portraits.gold import gold
from accord.worlds.portraits.people import People
from accord.worlds.portraits.prompts import describe, prompts
from accord.worlds.portraits.proxies import PortraitFaces, PromptReader, Structure
from accord.worlds.portraits.render import render

SUBJECT = "sks person"
SAMPLING = Denoising(steps=20, guidance=2.0, eta=1.0)
FEEDBACK = Denoising(steps=10, guidance=2.0, eta=1.0)
STORY = (
    "A tiny Stable Diffusion pipeline draws portraits. It is given one picture of somebody it has never seen. First LoRA learns "
    "that picture by denoising, as DreamBooth does: gold identity rises from {base:.2f} to {learned:.2f}, but prompts are heard less "
    "and pictures fall apart, as one picture is soon overfitted. Then ID-Aligner goes on, beside the denoising, with rewards for identity, for what "
    "the prompt asks and for structure, through the last denoising step (pictures before and after this part are below). The "
    "gold is an independent estimator's, which neither part could read."
)


def asked(n: int, seed: int, person: Any) -> list[Task]:
    """Prompts for the subject; the gold is told whom they mean."""
    texts = [f"a {SUBJECT}, {p.split(', ', 1)[1]}" for p in prompts(n, seed)]
    return [Task(prompt=t, columns={"person": person}) for t in texts]


def run_demo(out: Path, *, steps: int = 36, learning: int = 300, seed: int = 0, resume: Resume = False,
             say: Callable[[str], None] = print) -> tuple[Run, Path]:  # fmt: skip
    """Personalise, align, report; returns the run and the report's path. Under five minutes on two cores."""
    people = People.draw(1, derive(seed, purpose="subject"))
    reference, person = render(people).image[0], people.identity[0]
    save_picture(reference, out / "reference.png")
    generator = policy(lora=16)
    faces = PortraitFaces()
    identity = IdentityConsistency(faces, reference_vector(faces, reference[None]))
    rewards: dict[str, Reward] = {"identity": identity, "prompt": PromptReader(), "structure": Structure()}
    weights = {"identity": 1.0, "prompt": 1.0, "structure": 1.0}
    tests = asked(24, seed, person)
    proxy = combine(rewards, weights=weights)
    watch = Probe(generator, tests, {"proxy": proxy, "gold": gold}, SAMPLING, seed=seed, folder=out)

    def look(step: int) -> dict[str, float]:
        measures = watch(step)
        drawn = generator.sample([t.prompt for t in tests], 1, SAMPLING, seed=seed).completions
        return {**measures, "copying": copying(drawn, reference)}

    say(f"1/3  the generator learns one picture of {SUBJECT}")
    base = Probe(generator, tests, {"gold": gold}, SAMPLING, seed=seed)
    before = base(0)["reward/gold/identity"]
    shown = [Example(prompt=p.replace("person", SUBJECT, 1), completion=reference) for p in
             describe(_same(people, 64), seed, mention=0.7, subject="person")]  # fmt: skip
    fit(Supervised(generator), shown, steps=learning, batch_size=8, lr=1e-3, seed=seed, out=out / "learning", resume=resume,
        checkpoint_every=20)  # fmt: skip
    learned = base(0)["reward/gold/identity"]

    say(f"2/3  rewards bring it into accord (gold identity {before:.2f}, after learning the picture {learned:.2f})")
    others = ("prompt", "structure")
    algorithm = IDAligner(generator, identity, combine({k: rewards[k] for k in others}, weights={k: weights[k] for k in others}),
                          id_weight=weights["identity"], aes_weight=1.0, last=1, sampling=FEEDBACK, recompute=False,
                          prompts=[t.prompt for t in asked(400, seed + 1, person)])  # fmt: skip
    info = {"title": "Portraits: one new face, then rewards", "story": STORY.format(base=before, learned=learned),
            "model": "the world's 4.3 M parameter U-Net, LoRA of rank 16", "data": "one picture", "optimised": "proxy",
            "reward": "identity encoder + attribute reader + structure"}  # fmt: skip
    run = fit(algorithm, shown, steps=steps, batch_size=8, lr=3e-4, evaluate=look, evaluate_every=max(1, steps // 4),
              checkpoint_every=10, seed=seed, out=out, resume=resume, info=info)  # fmt: skip
    generator.save(out / "policy")

    say("3/3  the report")
    return run, write_report(out)


def _same(people: People, n: int) -> People:
    return people[[0] * n]
