"""VPL and PAL: people whose tastes are opposed are told apart, by a few verdicts; and what has to hold whatever was learned."""

from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.errors import ConfigError, FeedbackError
from accord.evaluation.trust import Referee
from accord.feedback import Comparison, in_context
from accord.rewards.pal import PAL, Newcomer, TasteFitting
from accord.rewards.variational_preference_learning import VPL, Belief, VariationalFitting


class Letters:
    """How often each of six letters comes."""

    width, fingerprint = 6, "letters"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Tensor:
        return torch.tensor([[float(c.count(x)) for x in "abcdef"] for c in completions]).reshape(-1, 6)


def verdicts(people: int, each: int, seed: int = 0) -> list[Comparison]:
    """Even people like a's, odd ones dislike them; all like b's a little."""
    made = []
    for who in range(people):
        random = Random(f"{seed}:{who}")
        for i in range(each):
            x, y = ("".join(random.choices("abcdef", k=6)) for _ in "xy")
            lead = [(c.count("a") * (2 if who % 2 == 0 else -2)) + 0.5 * c.count("b") for c in (x, y)]
            if lead[0] != lead[1]:
                x, y = (x, y) if lead[0] > lead[1] else (y, x)
                made.append(Comparison(prompt=f"p{i}", chosen=x, rejected=y, annotator=f"who-{seed}-{who}"))
    return made


SEEN, NEW = verdicts(16, 24), verdicts(6, 30, seed=1)


def accuracy(reward: Any, pairs: Sequence[Comparison]) -> float:
    return float((Referee(reward)(pairs) > 0).double().mean())


def of(pairs: Sequence[Comparison], who: int, seed: int = 1) -> list[Comparison]:
    return [p for p in pairs if p.annotator == f"who-{seed}-{who}"]


@pytest.fixture(scope="module")
def vpl() -> VPL:
    return VPL(Letters(), latent=4, hidden=32).fitted(in_context(SEEN, 6), epochs=9, lr=4e-3)


def test_somebody_new_is_known_by_six_verdicts(vpl: VPL) -> None:
    for who in range(6):
        said = of(NEW, who)
        assert accuracy(vpl.for_newcomer(said[:6]), said[6:]) > 0.8
        opposite = of(NEW, (who + 1) % 2)
        assert accuracy(vpl.for_newcomer(opposite[:6]), said[6:]) < 0.5, (
            "who is taken for somebody of the other kind is misjudged"
        )


def test_the_order_and_number_of_verdicts_do_not_matter_but_their_sides_do(vpl: VPL) -> None:
    said = of(NEW, 0)[:5]
    mean = vpl.believed([said]).mean
    assert torch.allclose(vpl.believed([said[::-1]]).mean, mean, atol=1e-6)
    assert torch.allclose(vpl.believed([said * 2]).mean, mean, atol=1e-5)
    assert not torch.allclose(vpl.believed([[p.flipped() for p in said]]).mean, mean, atol=0.1)
    with pytest.raises(ConfigError, match="equally many"):
        vpl.believed([said, said[:2]])


def test_the_divergence_is_that_of_gaussians() -> None:
    g = torch.Generator().manual_seed(0)
    belief = Belief(torch.randn(3, 4, generator=g), torch.randn(3, 4, generator=g))
    normal = torch.distributions.Normal
    p, q = normal(0.0, 1.0), normal(belief.mean, (0.5 * belief.log_variance).exp())
    assert torch.allclose(belief.kl(), torch.distributions.kl_divergence(q, p).sum(-1), atol=1e-5)
    assert torch.allclose(belief.entropy(), q.entropy().sum(-1), atol=1e-5)
    assert Belief(torch.zeros(1, 4), torch.zeros(1, 4)).kl() == 0


def test_without_a_person_the_bound_is_bradley_terry() -> None:
    model = VPL(Letters(), latent=3, hidden=8, kl=0.0)
    with torch.no_grad():
        model.reward[0].weight[:, 6:] = 0  # type: ignore[index, union-attr]
    rows = in_context(SEEN[:24], 4)
    algorithm = VariationalFitting(model)
    told = [(row, torch.randn(3)) for row in rows]
    loss = algorithm(told)
    z = torch.zeros(len(rows), 3)
    a, b = (
        model.value(Letters()([""] * len(rows), [getattr(r.target, side) for r in rows]), z)
        for side in ("chosen", "rejected")
    )
    assert torch.allclose(loss.sum, -torch.nn.functional.logsigmoid(a - b).sum(), atol=1e-4)


def test_win_probabilities_are_a_scale_that_people_share(vpl: VPL) -> None:
    said = of(NEW, 0)[:6]
    answers = ["aaa", "abc", "def", "bbb"]
    rivals = [("p", c) for c in answers]
    plain, scaled = (vpl.for_newcomer(said, r)(prompts=["p"] * 4, completions=answers).values for r in ((), rivals))
    assert bool(((scaled > 0) & (scaled < 1)).all())
    assert torch.equal(plain.argsort(), scaled.argsort())
    assert float(scaled.mean()) == pytest.approx(0.5, abs=1e-6)


def test_the_question_that_people_answer_differently_tells_more_than_one_that_says_nothing(vpl: VPL) -> None:
    telling = [Comparison(prompt="p", chosen="aaaadd", rejected="ddddee")]
    idle = [Comparison(prompt="p", chosen="cdef", rejected="cdef")]
    gain = vpl.gain([telling, idle])
    assert gain.shape == (2,)
    assert float(gain[0]) > float(gain[1]) + 0.01
    assert float(gain[0]) < 0.5 * vpl.latent, "no more than the least variance there is would tell"
    sure = deepcopy(vpl)
    sure.heads.bias.data += 3
    sure.believed([telling]).log_variance.sum().backward()
    assert bool(sure.heads.bias.grad.any()), "a bound that can be left again"  # type: ignore[union-attr]
    for sets in ([], [telling, []], [telling, telling * 2]):
        with pytest.raises(ConfigError, match="equally many questions"):
            vpl.gain(sets)
    assert torch.allclose(gain, vpl.gain([telling, idle], seed=3)), "of one question both answers are tried"


@pytest.fixture(scope="module", params=["distance", "angle"])
def pal(request: pytest.FixtureRequest) -> PAL:
    people = sorted({str(p.annotator) for p in SEEN})
    return PAL(Letters(), people, prototypes=2, by=request.param, hidden=32).fitted(SEEN, epochs=8, lr=3e-3)


def test_two_kinds_of_people_have_two_kinds_of_weights(pal: PAL) -> None:
    weights = torch.stack([pal.weights_of(f"who-0-{i}") for i in range(16)])[:, 0]
    assert (weights[0::2].min() > weights[1::2].max()) or (weights[1::2].min() > weights[0::2].max())
    for who in range(4):
        assert accuracy(pal.for_person(f"who-0-{who}"), of(SEEN, who, seed=0)) > 0.75


def test_one_prototype_is_one_taste_for_all_and_judges_opposed_people_as_a_coin_would() -> None:
    people = sorted({str(p.annotator) for p in SEEN})
    one = PAL(Letters(), people, prototypes=1, hidden=32).fitted(SEEN, epochs=2, lr=3e-3)
    said = [one.for_person(f"who-0-{i}")(prompts=["p"] * 2, completions=["ab", "cd"]).values for i in range(2)]
    assert torch.equal(said[0], said[1])
    found = [accuracy(one.for_person(f"who-0-{i}"), of(SEEN, i, seed=0)) for i in range(2)]
    assert sum(found) / 2 == pytest.approx(0.5, abs=0.2)


def test_a_newcomer_is_known_by_few_comparisons_and_changes_nobody(pal: PAL) -> None:
    before = {k: v.clone() for k, v in pal.state_dict().items()}
    found = [accuracy(pal.for_newcomer(of(NEW, who)[:6], steps=30), of(NEW, who)[6:]) for who in range(2)]
    assert sum(found) / 2 > 0.75
    assert all(torch.equal(v, before[k]) for k, v in pal.state_dict().items())
    assert all(p.grad is None or not p.grad.any() for p in pal.parameters()), (
        "no gradient is left for the next optimiser"
    )
    assert [n for n, _ in Newcomer(pal).named_parameters()] == ["tastes.points", "tastes.logits"]


def test_names_of_prototypes_mean_nothing(pal: PAL) -> None:
    pairs, weights = SEEN[:9], torch.softmax(torch.randn(9, 2, generator=torch.Generator().manual_seed(0)), -1)
    leads = pal.leads(pairs, weights)
    renamed = deepcopy(pal)
    renamed.tastes.points.data = pal.tastes.points.data.flip(0)
    renamed.asked = torch.nn.ModuleList(list(pal.asked)[::-1])
    turned = renamed.leads(pairs, weights.flip(1))
    assert torch.allclose(leads, turned, atol=1e-5)
    assert torch.allclose(pal.leads([p.flipped() for p in pairs], weights), -leads, atol=1e-5)


def test_all_that_learns_is_named_and_strangers_are_refused(pal: PAL) -> None:
    named = {id(p) for m in TasteFitting(pal).trainables.values() for p in m.parameters()}
    assert named == {id(p) for p in pal.parameters()}
    with pytest.raises(ConfigError, match="none of the 16 people"):
        pal.for_person("nobody")
    with pytest.raises(FeedbackError, match="who-1-0 is none"):
        pal.fitted(NEW)
