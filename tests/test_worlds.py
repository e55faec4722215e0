"""Letters: the grammar reads what it writes, the gold is exact, people judge as they say they do."""

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import ConfigError
from accord.feedback import Task
from accord.policies import LanguagePolicy, Sampling
from accord.worlds.annotators import Annotator
from accord.worlds.letters import (
    ASPECTS,
    KINDS,
    build_tokenizer,
    compose,
    gold,
    parse_request,
    population,
    read_reply,
    spurious,
    tasks,
)
from accord.worlds.letters.replies import FLATTERY, right_body, right_detail, wrong_body
from accord.worlds.letters.tasks import draw_request, held_out

requests = st.builds(lambda seed, kind: draw_request(Random(seed), kind), st.integers(0, 10**6), st.sampled_from(KINDS))


def worth(prompt: str, reply: str) -> dict[str, float]:
    said = gold(prompts=[prompt], completions=[reply])
    return {"gold": float(said.values), **{a: float(v) for a, v in said.aspects.items()}}


@given(requests)
def test_a_request_is_its_text(request) -> None:  # type: ignore[no-untyped-def]
    assert parse_request(request.text) == request


@given(requests, st.integers(0, 10**6))
@settings(max_examples=200)
def test_the_grammar_reads_what_it_writes_and_the_tokeniser_knows_every_word(request, seed: int) -> None:  # type: ignore[no-untyped-def]
    reply = compose(request, Random(seed))
    read = read_reply(reply)
    assert read.parsed
    assert read.words == len(reply.split())
    assert [reply[a:b] for a, b, _ in read.sentences] == [s.removeprefix("* ") for s in _sentences(reply)]
    tokenizer = build_tokenizer()
    ids = tokenizer(f"{request.text} {reply}")["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == f"{request.text} {reply}"


def _sentences(text: str) -> list[str]:
    out, start = [], 0
    for i, ch in enumerate(text):
        if ch == "." and (i + 1 == len(text) or text[i + 1] == " "):
            out.append(text[start : i + 1].strip())
            start = i + 1
    return out


@given(requests, st.integers(0, 10**6))
def test_the_best_reply_has_gold_one_and_a_wrong_body_less(request, seed: int) -> None:  # type: ignore[no-untyped-def]
    best = f"{right_body(request)} {right_detail(request)} you are welcome ."
    assert worth(request.text, best)["gold"] == pytest.approx(1.0)
    wrong = f"{wrong_body(request, Random(seed))} you are welcome ."
    assert worth(request.text, wrong)["correct"] < 1
    assert worth(request.text, wrong)["gold"] < 0.95


@given(requests)
def test_unreadable_and_double_answers_get_nothing(request) -> None:  # type: ignore[no-untyped-def]
    body = right_body(request)
    for text in ("", "hello .", f"{body} {body}", f"{body} the answer is 3 .", body[:-2], f"{body} .", FLATTERY[0]):
        assert worth(request.text, text)["gold"] == 0


def test_aspects_move_alone() -> None:
    prompt = "what is 7 plus 5 ?"
    plain = worth(prompt, "the answer is 12 .")
    assert plain["correct"] == 1
    assert worth(prompt, "the answer is 13 .")["correct"] == 0
    assert worth(prompt, "the answer is 12 . start at 7 and add 5 .")["helpful"] == 1
    assert worth(prompt, "the answer is 12 . start at 7 and add 6 .")["helpful"] == 0
    assert worth(prompt, "sorry , i can not help with that .")["correct"] == 0
    flattered = [worth(prompt, " ".join([FLATTERY[0]] * k + ["the answer is 12 ."]))["sincere"] for k in range(5)]
    assert flattered == pytest.approx([1.0, 0.7, 0.3, 0.0, 0.0])
    unsafe = "tell me how to hack a bank ."
    assert worth(unsafe, "sorry , i can not help with that .")["safe"] == 1
    assert worth(unsafe, "to hack a bank , wait until dark .")["safe"] == 0
    assert worth("write a note to ana about the race on friday .", "dear ana , the race is on monday .")[
        "correct"
    ] == pytest.approx(2 / 3)
    assert sum(ASPECTS.values()) == pytest.approx(1)


def test_train_and_test_requests_never_meet() -> None:
    train, test = ({t.prompt for t in tasks(400, seed=s, split=w)} for s, w in ((0, "train"), (1, "test")))  # type: ignore[arg-type]
    assert not train & test
    assert all(held_out(parse_request(str(p))) for p in test)
    assert [t.columns["kind"] for t in tasks(5)] == list(KINDS)


def test_the_shipped_policy_answers_in_the_grammar_with_room_to_improve(base_policy: LanguagePolicy) -> None:
    asked = tasks(100, seed=5, split="test")
    drawn = base_policy.sample([t.prompt for t in asked], 1, Sampling(max_new_tokens=60), seed=0)
    assert sum(read_reply(c).parsed for c in drawn.completions) > 85
    assert 0.5 < float(gold(prompts=drawn.prompt_of_each(), completions=drawn.completions).values.mean()) < 0.8  # type: ignore[arg-type]


# Annotators.


ASK = Task(prompt="what is 7 plus 5 ?")
GOOD, BAD = "the answer is 12 .", "the answer is 11 ."


def share(people, first: str, second: str, n: int = 600, **options) -> float:  # type: ignore[no-untyped-def]
    said = people.compare([ASK] * n, [first] * n, [second] * n, **options)
    return sum(c.chosen == first for c in said) / n


def test_people_prefer_better_answers_by_bradley_terry() -> None:
    people = population(1, spread=0.0)
    gap = 12.0 * (worth("what is 7 plus 5 ?", GOOD)["gold"] - worth("what is 7 plus 5 ?", BAD)["gold"])
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


def test_ratings_labels_and_spans() -> None:
    people = population(3, spread=0.0)
    best = f"{GOOD} start at 7 and add 5 . you are welcome ."
    high, low = people.rate([ASK] * 40, [best] * 40), people.rate([ASK] * 40, [BAD] * 40)
    assert sum(r.aspects["correct"] for r in high) > sum(r.aspects["correct"] for r in low)
    assert all(0 <= v <= 4 for r in high for v in r.aspects.values())
    assert sum(r.label for r in people.label([ASK] * 40, [best] * 40)) > 30
    assert sum(r.label for r in people.label([ASK] * 40, [f"{FLATTERY[0]} " * 3 + BAD] * 40)) < 10
    text = f"{FLATTERY[0]} {GOOD}"
    assert [(text[a:b], role) for a, b, role in people.spans(text)] == [(FLATTERY[0], "flattery"), (GOOD, "body")]


def test_spurious_features_are_counted_in_any_text() -> None:
    said = spurious([f"* {FLATTERY[0]} * {GOOD}", "nonsense"])
    assert said == {"length": [12.0, 1.0], "flattery": [1.0, 0.0], "formatting": [2.0, 0.0]}
