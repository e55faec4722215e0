"""Seeds of the reproductions on portraits: of equal difficulty, and the same run whatever ran before it."""

from collections import Counter
from typing import Any

import torch

from accord.algorithms import DRaFT
from accord.reproduce.portraits import SAMPLING, arm, asked, liked, taste, train
from accord.worlds.portraits import policy, read_prompt
from accord.worlds.portraits.people import ATTRIBUTES, HELD_OUT


def test_tastes_of_all_seeds_name_the_same_attributes_in_colours_that_come_alike_and_nothing_held_out() -> None:
    tastes = [taste(seed) for seed in range(800)]
    assert {tuple(w.attribute for w in t) for t in tastes} == {("background", "clothes")}
    seen = Counter(tuple(w.value for w in t) for t in tastes)
    assert len(seen) == 16
    assert max(seen.values()) < 2 * min(seen.values())
    odd = {(a, v) for held in HELD_OUT for a, v in held.items()}
    assert not odd & {(w.attribute, w.value) for t in tastes for w in t}
    assert all(w.value in ATTRIBUTES[w.attribute] for t in tastes for w in t)
    said = {w.attribute for text in asked(200, 5) for w in read_prompt(text)}
    assert said == set(ATTRIBUTES) - {"background", "clothes"}


def test_an_arm_on_pictures_is_the_same_run_after_others() -> None:
    def teach(trained: Any, seed: int) -> None:
        algorithm = DRaFT(trained, liked(seed), k=1, sampling=SAMPLING, recompute=False)
        train(algorithm, asked(4, seed), seed, steps=2, batch_size=2, lr=1e-3, warmup=0.0)

    run = arm(teach, n=2)
    torch.manual_seed(0)
    alone = run(1300)
    torch.manual_seed(1)
    policy(lora=8, seed=3)
    assert run(1301) != alone
    assert run(1300) == alone
