"""Held-out records say how a policy does at its method's own task."""

import pytest
import torch

from accord.algorithms import KTO, Supervised
from accord.engine import Rows, Step
from accord.evaluation import held_out
from accord.feedback import Example, Label
from accord.worlds import letters
from conftest import tiny_policy
from tiny_pipelines import picture
from tiny_pipelines import policy as pictures

ANSWERS = ["it is 5 .", "sorry , i can not help with that .", "thank you .", "the answer is 3 . thank you for asking ."]
TEXTS = [Example(prompt=t.prompt, completion=ANSWERS[i % 4]) for i, t in enumerate(letters.tasks(11))]


def test_it_is_the_mean_over_all_steps_however_they_are_batched() -> None:
    algorithm = Supervised(tiny_policy())
    whole = algorithm(algorithm.experience(Rows(TEXTS), Step(0, 0)))
    for size in (1, 3, 100):
        found = held_out(algorithm, TEXTS, size)
        assert found["loss"] == found["nll"] == pytest.approx(float(whole.sum.detach()) / whole.weight, rel=1e-5)


def test_what_is_drawn_is_the_same_each_time_and_no_gradient_is_left() -> None:
    algorithm = Supervised(pictures("sd", lora=2))
    rows = [Example(prompt="a red cat", completion=picture(i)) for i in range(5)]
    assert held_out(algorithm, rows, 2) == held_out(algorithm, rows, 2)
    assert all(p.grad is None for p in algorithm.parameters())


def test_kto_counts_the_labels_that_it_tells() -> None:
    """By ``h > z``: half at the beginning, where both are 0; all or none once the policy likes just the good (the bad) ones."""
    rows = [Label(prompt=e.prompt, completion=e.completion, label=i % 4 == 0) for i, e in enumerate(TEXTS)]
    algorithm = KTO(tiny_policy())
    assert held_out(algorithm, rows)["accuracy"] == 0.5
    moved = torch.optim.SGD(algorithm.policy.parameters(), 1.0)
    for _ in range(30):
        loss = algorithm(algorithm.experience(Rows(rows), Step(0, 0)))
        moved.zero_grad()
        loss.sum.backward()
        moved.step()
    assert held_out(algorithm, rows)["accuracy"] == 1
    turned = [r.model_copy(update={"label": not r.label}) for r in rows]
    assert held_out(algorithm, turned)["accuracy"] == 0
