"""POLAR: what is laid out before an answer, triples of policies, the best answer as reference, and who can be told from whom."""

import math
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import pytest
import torch

from accord.engine import Rows
from accord.errors import ConfigError, FeedbackError, RewardError
from accord.feedback import Comparison, Ranking
from accord.policies import Sampling
from accord.rewards import BradleyTerry, PolicyDiscriminator, beside_best, policy_triples, score
from accord.rewards.fitting import RewardFitting
from accord.rewards.polar import MARK
from accord.worlds.letters import build_model

WORDS = ("fern", "rose", "crow", "duck", "zinc", "lead")
PROMPTS = [f"tell me about a {w} ." for w in WORDS]


def discriminator(seed: int = 0, **options: Any) -> PolicyDiscriminator:
    policy = build_model(seed, width=32, layers=2)
    model = BradleyTerry.load(policy.model, tokenizer=policy.tokeniser.inner)
    return PolicyDiscriminator(model, between=" ", **{"answer_tokens": 40, **options})


class Drawn(NamedTuple):
    completions: list[str]


class Likes:
    """A policy that says words at random, some of them often."""

    def __init__(self, *often: str, length: int = 12) -> None:
        self.often, self.length = often, length

    def text(self, random: Random) -> str:
        return " ".join(random.choice(self.often if random.random() < 0.7 else WORDS) for _ in range(self.length))

    def sample(self, prompts: Sequence[str], n: int, sampling: Any, *, seed: Any) -> Drawn:
        return Drawn([self.text(Random(f"{seed}:{p}:{i}:{j}")) for i, p in enumerate(prompts) for j in range(n)])


PLANTS, METALS = Likes("fern", "rose"), Likes("zinc", "lead")


def triples(n: int, seed: int = 0, a: Any = PLANTS, b: Any = METALS) -> list[Comparison]:
    return policy_triples({"a": a, "b": b}, [PROMPTS[i % 6] for i in range(n)], Sampling(), seed=seed)


def leads(model: PolicyDiscriminator, rows: Sequence[Comparison]) -> torch.Tensor:
    asked = {"prompts": [p.prompt for p in rows for _ in "cr"], "reference": [p.columns["reference"] for p in rows for _ in "cr"]}  # fmt: skip
    said = score(model, completions=[c for p in rows for c in (p.chosen, p.rejected)], **asked).values
    return said[0::2] - said[1::2]


@pytest.fixture(scope="module")
def trained() -> PolicyDiscriminator:
    return discriminator().fitted(triples(1500), lr=3e-3, schedule="cosine", warmup=0.1)


def test_a_trained_one_agrees_with_the_likelihood_ratio_given_its_reference(trained: PolicyDiscriminator) -> None:
    rows, right = triples(200, seed=1), 0
    for row, lead in zip(rows, leads(trained, rows).tolist(), strict=True):
        plants = sum(row.columns["reference"].split().count(w) for w in ("fern", "rose"))
        metals = sum(row.columns["reference"].split().count(w) for w in ("zinc", "lead"))
        ratio = [sum(c.split().count(w) for w in ("fern", "rose")) - sum(c.split().count(w) for w in ("zinc", "lead"))
                 for c in (row.chosen, row.rejected)]  # fmt: skip
        right += (lead > 0) == ((ratio[0] - ratio[1]) * (plants - metals) > 0)
    assert right / len(rows) > 0.95


def test_two_of_one_kind_can_not_be_told_apart(trained: PolicyDiscriminator) -> None:
    found = leads(trained, triples(300, seed=2, b=Likes("fern", "rose")))
    assert abs(float((found > 0).float().mean()) - 0.5) < 1.96 * 0.5 / 300**0.5 + 0.02


def test_before_it_has_learned_the_loss_is_log_2() -> None:
    model = discriminator()
    rows = triples(6)
    laid = [model.laid_out(r.prompt, r.columns["reference"], r.chosen, r.rejected) for r in rows]
    told = Rows(Comparison(prompt=text, chosen=a, rejected=b) for text, (a, b) in laid)
    assert float(RewardFitting(model.model)(told).sum.detach() / 6) == pytest.approx(math.log(2))


def test_before_each_answer_stand_prompt_and_reference_and_the_mark_once() -> None:
    model = discriminator()
    text, answers = model.laid_out(PROMPTS[0], "fern rose", "crow", "duck duck")
    assert text == f"{PROMPTS[0]} fern rose{MARK}{PROMPTS[0]} "
    assert answers == ["crow", "duck duck"]
    mark = model.model.tokeniser.inner.convert_tokens_to_ids(MARK)
    ids = model.model.tokeniser.prompt(text)
    assert ids.count(mark) == 1
    assert "duck" not in text, "a reference holds no candidate"
    again = PolicyDiscriminator(model.model, between=" ", answer_tokens=40)
    assert again.model.tokeniser.inner.convert_tokens_to_ids(MARK) == mark, "the mark is added once"


def test_what_is_too_long_keeps_its_end() -> None:
    model = discriminator(answer_tokens=3, max_tokens=24)
    text, (answer,) = model.laid_out(" ".join(WORDS * 4), "one fern crow duck", "rose rose fern crow duck")
    assert answer.split() == ["fern", "crow", "duck"]
    before, after = text.split(MARK)
    assert before.split()[-3:] == ["fern", "crow", "duck"]
    assert after.split() == before.split()[:-3] == list(WORDS * 4)[-len(after.split()) :]
    assert len(model.model.tokeniser.prompt(text)) + 4 <= 24
    with pytest.raises(ConfigError, match="must leave room for prompts"):
        discriminator(answer_tokens=12, max_tokens=24)


def test_a_group_is_scored_as_one_by_one_in_any_order(trained: PolicyDiscriminator) -> None:
    answers, n = ["fern rose fern", "zinc", "crow duck lead"], 3
    together = score(
        trained, prompts=[PROMPTS[0]] * n, completions=answers, reference=["rose"] * n, group=[0] * n
    ).values
    alone = [float(score(trained, prompts=[PROMPTS[0]], completions=[a], reference=["rose"]).values) for a in answers]
    assert torch.allclose(together, torch.tensor(alone), atol=1e-5)
    turned = score(
        trained, prompts=[PROMPTS[0]] * n, completions=answers[::-1], reference=["rose"] * n, group=[0] * n
    ).values
    assert torch.allclose(turned.flip(0), together, atol=1e-5)
    mixed = score(
        trained, prompts=[PROMPTS[0]] * 2, completions=["zinc"] * 2, reference=["rose", "lead"], group=[0, 0]
    ).values
    assert mixed[0] != mixed[1], "samples of a group may have references of their own"


def test_triples_are_of_two_policies_and_none_holds_a_text_twice() -> None:
    rows = triples(40)
    assert len(rows) == 40
    assert {tuple(r.columns["policies"]) for r in rows} == {("a", "b"), ("b", "a")}
    assert triples(20, a=Likes("fern", length=1), b=Likes("fern", length=1)) == triples(
        20, a=Likes("fern", length=1), b=Likes("fern", length=1)
    )
    few = triples(60, a=Likes("fern", length=1), b=Likes("rose", length=1))
    assert 0 < len(few) < 60
    assert all(len({r.chosen, r.rejected, r.columns["reference"]}) == 3 for r in few)
    for policies, sampling in (({"a": PLANTS}, Sampling()), ({"a": PLANTS, "b": METALS}, Sampling(temperature=0))):
        with pytest.raises(ConfigError, match=r"at least two|greedy"):
            policy_triples(policies, PROMPTS, sampling)  # type: ignore[arg-type]


def test_the_best_of_a_ranking_is_the_reference_of_the_others() -> None:
    rows = beside_best([Ranking(prompt="p", completions=["a", "b", "c", "d"], scores=[3, 2, 2, 1])])
    assert [(r.columns["reference"], r.chosen, r.rejected) for r in rows] == [("a", "b", "d"), ("a", "c", "d")]
    assert len(beside_best([Ranking(prompt="p", completions=["a", "b", "c", "d"])])) == 3
    with pytest.raises(FeedbackError, match="ranking 1 has 2 answers"):
        beside_best([Ranking(prompt="p", completions=["a", "b"])])


def test_without_a_reference_nothing_is_said() -> None:
    with pytest.raises(RewardError, match="give the data a column 'reference'"):
        score(discriminator(), prompts=["p"], completions=["c"])
    with pytest.raises(FeedbackError, match="record 1 has no text 'reference'"):
        discriminator().fitted([Comparison(prompt="p", chosen="a", rejected="b")])
