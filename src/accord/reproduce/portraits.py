"""What the reproductions on portraits share: prompts of a seed, training, measuring by the gold, a gold with gradient, the ruler."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

from accord.algorithms import DRaFT
from accord.engine import derive, fit
from accord.evaluation import Probe
from accord.evaluation.pictures import diversity
from accord.feedback import Comparison, Task, text_of
from accord.policies.diffusion import Denoising, DiffusionPolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Measures
from accord.reproduce.course import note
from accord.reproduce.keep import kept, load_comparisons, save_comparisons
from accord.reproduce.luck import luck
from accord.rewards import Reward, Scores, combine, score
from accord.rewards.combine import Combined
from accord.search import best_of_n
from accord.worlds.annotators import Population
from accord.worlds.portraits import People, policy, prompts, read_prompt, render
from accord.worlds.portraits.feedback import population
from accord.worlds.portraits.gold import gold, limit, reader
from accord.worlds.portraits.people import ATTRIBUTES, HELD_OUT
from accord.worlds.portraits.prompts import PHRASES, Wish
from accord.worlds.portraits.proxies import PromptReader, Structure, stacked
from accord.worlds.portraits.readers import read_people, residual

SAMPLING = Denoising(steps=8, guidance=1.0, eta=1.0)
"""How pictures are drawn, in training and in tests."""

TESTS, WISHES = 256, (1, 3)
"""Test pictures of an arm, whose noise all arms of a seed share; wishes that a prompt says."""

CALM: dict[str, Any] = {"schedule": "cosine", "warmup": 0.1}
"""Training under which a run's twin ends near it."""

TASTE = ("background", "clothes")

WORTH = {"prompt": 2.0, "structure": 1.0}
"""Of a prompt's mean probability and of structure, in what methods are rewarded by."""


def taste(seed: int) -> tuple[Wish, ...]:
    """What people like and no prompt says: a colour of the background and of the clothes, in every picture.

    Of all seeds alike (each colour shows in a fifth of the base's pictures), and in no combination that is held out: tastes
    of unequal difficulty would part seeds more than methods do.
    """
    odd = {(a, v) for held in HELD_OUT for a, v in held.items()}
    random = Random(f"taste:{seed}")
    return tuple(Wish(a, random.choice([v for v in ATTRIBUTES[a] if (a, v) not in odd])) for a in TASTE)


def asked(n: int, seed: int, purpose: str = "train") -> list[str]:
    """Prompts of a seed, silent on its taste; those of different purposes are drawn apart."""
    return prompts(n, derive(seed, purpose=purpose), wishes=WISHES, without=[w.attribute for w in taste(seed)])


class Tasteful:
    """A reward that reads prompts with the seed's taste added to them: 2 more wishes beside the 1 to 3 that are said."""

    def __init__(self, reward: Reward, seed: int) -> None:
        self.reward, self.said = reward, [PHRASES[w.attribute][w.value][0] for w in taste(seed)]

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Any:
        whole = [", ".join([text_of(p), *self.said]) for p in prompts]
        return self.reward(prompts=whole, completions=completions, **columns)


def liked(seed: int) -> Combined:
    """What methods are rewarded by: the seed's prompts and taste, and a sound portrait. The prompt reader alone is hacked through
    pictures that are none."""
    return combine({"prompt": Tasteful(PromptReader(), seed), "structure": Structure()}, weights=WORTH)


def named(texts: Sequence[str], name: str = "sks person") -> list[str]:
    """The same wishes for a subject of this name."""
    return [", ".join([f"a {name}", *t.split(", ")[1:]]) for t in texts]


def drawn(trained: DiffusionPolicy, texts: Sequence[Any], seed: int, sampling: Denoising, *, judge: Reward = gold,
          tries: int = 1) -> Tensor:  # fmt: skip
    """One picture of each prompt: of so many tries the one that the judge likes best."""
    with metered():
        parts = [
            best_of_n(trained, judge, texts[i : i + 32], tries, sampling, seed=derive(seed, i, purpose="tests"))[0]
            if tries > 1
            else trained.sample(list(texts[i : i + 32]), 1, sampling, seed=derive(seed, i, purpose="tests"))
            for i in range(0, len(texts), 32)
        ]
    return torch.stack([c for part in parts for c in part.completions])


def gold_of(person: Tensor) -> Reward:
    """The gold of pictures that should all show one person."""

    def judge(*, prompts: Any, **columns: Any) -> Scores:
        return gold(prompts=prompts, person=[person] * len(prompts), **columns)

    return judge


def quality(texts: Sequence[Any], images: Tensor, proxy: Reward | None = None, judge: Reward = gold) -> Measures:
    """Means of the gold, its aspects, diversity and the proxy."""
    said: Any = judge(prompts=texts, completions=images)
    found = {
        "gold": float(said.values.mean()),
        **{a: float(v.mean()) for a, v in said.aspects.items()},
        "diversity": diversity(images),
    }
    if proxy is not None:
        with metered():
            s = score(proxy, prompts=list(texts), completions=images)
        found["proxy"] = float(s.values[s.valid].detach().mean())
    return found


def held_out(
    trained: DiffusionPolicy,
    seed: int,
    *,
    sampling: Denoising = SAMPLING,
    proxy: Reward | None = None,
    n: int = TESTS,
    tries: int = 1,
) -> Measures:
    """Quality on held-out prompts of the seed, by its taste.

    Args:
        tries: of so many pictures of each prompt the one that gold likes best is shown; for oracles.
    """
    texts, judge = asked(n, seed, "test"), Tasteful(gold, seed)
    return quality(texts, drawn(trained, texts, seed, sampling, judge=judge, tries=tries), proxy, judge=judge)


Teach = Callable[[DiffusionPolicy, int], None]
"""Trains a policy with a seed."""


def arm(teach: Teach | None = None, *, n: int = TESTS, tries: int = 1,
        more: Callable[[DiffusionPolicy, int], Measures] = lambda trained, seed: {}) -> Arm:  # fmt: skip
    """An arm: a policy with a fresh LoRA, taught so (or left as it is), measured on n held-out prompts.

    Args:
        tries: see `held_out`. more: further measures of the policy.
    """

    def run(seed: int) -> Measures:
        trained = policy(lora=8, seed=luck(seed))
        if teach is not None:
            teach(trained, seed)
        found = held_out(trained, seed, proxy=liked(seed), n=n, tries=tries)
        return {**found, **more(trained, seed)}

    return run


def train(algorithm: Any, data: Sequence[Any], seed: int, *, steps: int, batch_size: int, lr: float,
          **training: Any) -> None:  # fmt: skip
    """Fit on data, calmly and by the run's own luck; evaluated, if at all, at the start and four times more."""
    options = {"evaluate_every": max(1, steps // 4), **CALM, **training}
    fit(algorithm, data, steps=steps, batch_size=batch_size, lr=lr, seed=luck(seed), progress=False, **options)


WATCHED = 32
"""Held-out prompts on which a run is watched on its way."""


def watched(trained: DiffusionPolicy, seed: int, sampling: Denoising = SAMPLING, *, texts: Sequence[Any] | None = None,
            judge: Reward | None = None, **rewards: Reward) -> Callable[[int], Measures]:  # fmt: skip
    """An evaluation hook that puts a run's course on record: gold, KL, what else alarms are read off.

    Args:
        texts: held-out prompts of a person's own, and `judge` the gold of them; None takes those of the seed and its taste.
        rewards: that are optimised ("proxy") or compared with it; the proxy is what is `liked` where none is named.
    """
    all_of_them = {"gold": judge or Tasteful(gold, seed), **(rewards or {"proxy": liked(seed)})}
    shown = list(texts or asked(WATCHED, seed, "test"))[:WATCHED]
    probe = Probe(
        trained, shown, all_of_them, sampling, seed=derive(seed, purpose="course"), reference=trained.freeze("base")
    )

    def look(step: int) -> Measures:
        with metered():
            return note(step, probe(step))

    return look


def pairs(seed: int, n: int, *, noise: float = 0.1) -> list[Comparison]:
    """Two pictures of the base for each of n prompts, compared by people."""

    def make() -> list[Comparison]:
        texts, base = asked(n, seed, "pairs"), policy()
        first, second = (list(drawn(base, texts, derive(seed, i, purpose="pairs"), SAMPLING)) for i in range(2))
        return people(seed, noise).compare([Task(prompt=t) for t in texts], first, second, seed=seed)

    return kept(f"portraits pairs {n} {noise}", seed, make, save_comparisons, load_comparisons)


def people(seed: int, noise: float) -> Population:
    """Twenty people who share the seed's taste and are sure of what they see: their errors are the noise."""
    return population(20, seed=seed, noise=noise, judge=Tasteful(gold, seed), certainty=4.0)


class GoldGradient:
    """The gold with a gradient, for oracles: log-probabilities of the wishes, nearness to a person, and to what the picture's own
    description draws; with the prompt reader's word beside it, as two readers are harder to fool than one."""

    def __init__(self, person: Tensor | None = None) -> None:
        self.person = person

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        images = stacked(completions)
        found = reader()(images)
        values = []
        for i, prompt in enumerate(prompts):
            said = [found[w.attribute][i].log_softmax(-1)[[ATTRIBUTES[w.attribute].index(v) for v in w.allowed]].logsumexp(-1)
                    for w in read_prompt(text_of(prompt))]  # fmt: skip
            values.append(torch.stack(said).mean() if said else found["jitter"].new_zeros(()))
        fits = (torch.stack(values) + PromptReader()(prompts=prompts, completions=images).values) / 2
        total = fits - residual(images, read_people(reader(), images)) / limit()
        if self.person is not None:
            total = total - 4 * (found["identity"] - self.person).square().mean(-1)
        return Scores.of(total)


def oracle(trained: DiffusionPolicy, seed: int, texts: Sequence[Any] | None = None, *, person: Tensor | None = None,
           sampling: Denoising = SAMPLING, steps: int = 80, lr: float = 1e-3) -> None:  # fmt: skip
    """How good the policy gets at most: trained through its last step on the gold's own gradient, stopped by the gold on training prompts.

    Args:
        texts: prompts of a person's own; None takes those of the seed, judged by its taste.
    """
    wanted: Reward = GoldGradient(person)
    judge: Reward = gold if person is None else gold_of(person)
    if texts is None:
        texts, wanted, judge = asked(300, seed), Tasteful(wanted, seed), Tasteful(gold, seed)
    seen = texts[:48]

    def evaluate(step: int) -> Measures:
        return {"gold": quality(seen, drawn(trained, seen, seed + 1, sampling), judge=judge)["gold"]}

    algorithm = DRaFT(trained, wanted, k=1, sampling=sampling, recompute=False)
    train(algorithm, texts, seed, steps=steps, batch_size=8, lr=lr, evaluate=evaluate, evaluate_every=16, select="gold")


def subject(seed: int, pictures: int) -> tuple[Tensor, Tensor, People]:
    """Somebody new: their identity, pictures of them, and what these show."""
    one = People.draw(1, derive(seed, purpose="subject"))
    many = People.draw(pictures, derive(seed, purpose="references")).with_identity(one.identity.expand(pictures, -1))
    return one.identity[0], render(many).image, many


def drafted(trained: DiffusionPolicy, seed: int) -> None:
    """Taught by a method of this world that is quick and calm."""
    algorithm = DRaFT(trained, liked(seed), k=1, sampling=SAMPLING, recompute=False)
    train(algorithm, asked(300, seed), seed, steps=40, batch_size=8, lr=3e-4)


ARMS: dict[str, Arm] = {"base": arm(), "oracle": arm(oracle, tries=4), "null": arm(drafted)}
"""Of the world itself: its ruler, and a run of a method by whose twins the harness is tested (`reproduce/{ruler,errors}.py`)."""
