"""The main job on this world: people compare answers, a reward learns from them, a policy learns from the reward."""

from collections.abc import Callable
from pathlib import Path

import torch

from accord.algorithms import RLOO
from accord.engine import Run, fit
from accord.engine.fit import Resume
from accord.engine.run import write_text
from accord.evaluation import Probe, accuracy, write_report
from accord.feedback import read
from accord.worlds.letters.feedback import SAMPLING, comparisons, reward_model
from accord.worlds.letters.gold import gold
from accord.worlds.letters.model import policy as base_policy
from accord.worlds.letters.population import FLAWS, population
from accord.worlds.letters.tasks import tasks

STORY = (
    "A tiny language model answers templated requests. Twenty simulated people, who like flattery and length a little "
    "more than they should, compared pairs of its answers; a Bradley-Terry reward model (the proxy) learned from {pairs} "
    "of their verdicts and ranks held-out pairs as they did in {accuracy}. RLOO then trained the policy on the proxy. "
    "The gold is the world's true reward, which neither saw: only it tells whether the answers really got better."
)


def run_demo(out: Path, *, pairs: int = 3000, steps: int = 60, seed: int = 0, resume: Resume = False,
             say: Callable[[str], None] = print) -> tuple[Run, Path]:  # fmt: skip
    """Feedback, reward, alignment, report; returns the run and the report's path. About two minutes on two cores."""
    base = base_policy()
    people = population(20, seed=seed, bias=FLAWS["mild"])
    say(f"1/4  {len(people.people)} people compare {pairs} pairs of answers")
    verdicts = comparisons(base, people, pairs, seed=seed)
    write_text(out / "feedback.jsonl", "".join(v.model_dump_json(exclude_defaults=True) + "\n" for v in verdicts))
    train, test = read(out / "feedback.jsonl").split(0.1)

    say("2/4  a reward model learns from their verdicts")
    proxy = reward_model(train.comparisons(), seed=seed, epochs=2, progress=True)
    said = [
        proxy(prompts=[c.prompt] * 2, completions=[c.chosen, c.rejected], group=[0, 0]).values
        for c in test.comparisons()
    ]
    right = accuracy(torch.stack([s[0] - s[1] for s in said]))
    proxy.save(out / "reward")

    say(f"3/4  the policy learns from the reward ({right} on held-out pairs)")
    policy = base_policy()
    algorithm = RLOO(policy, proxy, kl=0.02, group_size=4, sampling=SAMPLING)
    watch = Probe(policy, tasks(200, seed=seed, split="test"), {"proxy": proxy, "gold": gold}, SAMPLING, folder=out,
                  reference=algorithm.reference)  # fmt: skip
    info = {"title": "Letters: from verdicts to a better policy", "story": STORY.format(pairs=len(train), accuracy=right),
            "model": "the world's 0.9 M parameter Llama", "data": f"{len(train)} verdicts", "reward": "Bradley-Terry model",
            "optimised": "proxy"}  # fmt: skip
    run = fit(algorithm, tasks(400, seed=seed + 1), steps=steps, batch_size=16, lr=3e-4, evaluate=watch,
              evaluate_every=10, checkpoint_every=20, seed=seed, out=out, resume=resume, info=info)  # fmt: skip
    policy.save(out / "policy")

    say("4/4  the report")
    return run, write_report(out)
