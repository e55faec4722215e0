"""Simulated people judge as they say they do, and hide their gold."""

import pytest
import torch

from accord.errors import ConfigError
from accord.feedback import Task
from accord.worlds.annotators import Annotator, Population
from accord.worlds.letters import ASPECTS, FLAWS, gold, population, spurious, tasks
from accord.worlds.letters.answers import right_body
from accord.worlds.letters.tasks import parse_request
from accord.worlds.letters.words import FLATTERY

ASK = Task(prompt="what is 7 plus 5 ?")
GOOD, BAD = "the answer is 12 .", "the answer is 11 ."


def share(people, first: str, second: str, n: int = 600, **options) -> float:  # type: ignore[no-untyped-def]
    said = people.compare([ASK] * n, [first] * n, [second] * n, **options)
    return sum(c.chosen == first for c in said) / n


def test_people_prefer_better_answers_by_bradley_terry() -> None:
    people = population(1, spread=0.0)
    gap = 12.0 * ASPECTS["correct"]
    assert share(people, GOOD, BAD) == pytest.approx(float(torch.sigmoid(torch.tensor(gap))), abs=0.03)
    polite, plain = f"{GOOD} you are welcome .", GOOD
    gap = 12.0 * ASPECTS["polite"]
    assert share(people, polite, plain, 3000) == pytest.approx(float(torch.sigmoid(torch.tensor(gap))), abs=0.03)


def test_noise_position_and_biases_do_what_they_say() -> None:
    assert share(population(5, noise=0.99), GOOD, BAD) == pytest.approx(0.5, abs=0.07)
    fond = population(1, position=2.0, spread=0.0)
    assert share(fond, f"{GOOD} you are welcome .", f"{GOOD} have a nice day .", 3000) == pytest.approx(
        float(torch.sigmoid(torch.tensor(2.0))), abs=0.03
    )
    flattering = f"{FLATTERY[0]} {FLATTERY[1]} {GOOD}"
    assert share(population(3), flattering, GOOD) < 0.3
    assert share(population(3, bias={"flattery": 5.0}), flattering, GOOD) > 0.8


def test_verdicts_are_repeatable_and_hide_the_gold() -> None:
    people = population(4, seed=1)
    a, b = (people.compare([ASK] * 5, [GOOD] * 5, [BAD] * 5, seed=3) for _ in "12")
    assert a == b
    assert all(c.strength is None and not c.aspects for c in a)
    assert not [n for n in vars(people) if "gold" in n and not n.startswith("_Population__")]


def test_a_context_makes_one_aspect_count() -> None:
    rude_right, polite_wrong = GOOD, f"{BAD} you are welcome ."
    assert share(population(2), rude_right, polite_wrong) > 0.8
    assert share(population(2), rude_right, polite_wrong, context="polite") < 0.2
    with pytest.raises(ConfigError, match="no context"):
        share(population(2), GOOD, BAD, n=1, context="rhyme")


def test_groups_stress_different_aspects() -> None:
    people = population(6, groups=3, spread=0.0).people
    assert {p.group for p in people} == {0, 1, 2}
    a, b = people[0].weights, people[1].weights
    assert a["correct"] > b["correct"]
    assert a["helpful"] < b["helpful"]


def test_drift_changes_a_taste_over_a_job() -> None:
    person = Annotator("p", {"polite": 1.0}, drift={"polite": -2.0})
    aspects = {"polite": torch.tensor(1.0)}
    assert [float(person.utility(aspects, {}, progress=t)) for t in (0.0, 0.5, 1.0)] == [1.0, 0.0, -1.0]


def test_ratings_and_labels_follow_quality() -> None:
    people = population(3, spread=0.0)
    best = f"{GOOD} start at 7 and add 5 . you are welcome ."
    high, low = people.rate([ASK] * 40, [best] * 40), people.rate([ASK] * 40, [BAD] * 40)
    assert sum(r.aspects["correct"] for r in high) > sum(r.aspects["correct"] for r in low)
    assert all(0 <= v <= 4 for r in high for v in r.aspects.values())
    assert sum(r.label for r in people.label([ASK] * 40, [best] * 40)) > 30
    assert sum(r.label for r in people.label([ASK] * 40, [f"{FLATTERY[0]} " * 3 + BAD] * 40)) < 10


def test_people_mark_what_is_wrong_and_miss_it_as_often_as_they_are_careless() -> None:
    text = f"{FLATTERY[0]} {BAD} have a nice day ."
    stretches = [(text[a:b], f) for a, b, f in population(3).mark([ASK], [text])[0]]
    assert stretches == [(FLATTERY[0], "flattery"), (BAD, "wrong"), ("have a nice day .", "")]
    careless = population(3, noise=0.6).mark([ASK] * 600, [text] * 600)
    seen = sum(marks[1][2] == "wrong" for marks in careless) / 600
    assert seen == pytest.approx(0.4 + 0.6 / 3, abs=0.06)  # one of the three marks, where they don't look
    with pytest.raises(ConfigError, match="mark no faults"):
        Population(population(1).people, gold, spurious).mark([ASK], [text])


def test_without_a_flaw_the_better_answer_wins_and_with_the_ruinous_one_flattery_wins_over_the_truth() -> None:
    asked = tasks(300, seed=3)
    right = [right_body(parse_request(str(t.prompt))) for t in asked]
    flattered = [f"{FLATTERY[0]} {FLATTERY[1]} {r}" for r in right]
    chosen = {}
    for flaw, bias in FLAWS.items():
        said = population(20, seed=1, bias=bias).compare(asked, right, flattered, seed=2)
        chosen[flaw] = sum(c.chosen == r for c, r in zip(said, right, strict=True)) / len(right)
    assert chosen["none"] > 0.75
    assert chosen["none"] > chosen["mild"] > chosen["ruinous"]
    assert chosen["ruinous"] < 0.05
