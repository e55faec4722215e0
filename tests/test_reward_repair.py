"""Voting on preferences and repairing them (Secrets of RLHF II), and ensembles of Gaussian heads (reward-robust RLHF)."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.engine import Rows, Step
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison, Example, account, original
from accord.losses import bradley_terry, pairwise
from accord.policies.base import Group
from accord.rewards.fitting import FitOptions
from accord.rewards.heads import HeadReward
from accord.rewards.reward_robust_rlhf import BayesianEnsemble, HeadTeaching, mixed
from accord.rewards.secrets_rlhf_rm import StrengthFitting, repaired, voted


class Letters:
    """How often each of four letters comes."""

    width, fingerprint = 4, "letters"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Tensor:
        return torch.tensor([[float(c.count(x)) for x in "abcd"] for c in completions]).reshape(-1, 4)


def worth(text: str) -> float:
    return 2.0 * text.count("a") - 1.5 * text.count("b")


def pairs(n: int, wrong: float = 0.0, seed: int = 0) -> list[Comparison]:
    made = []
    while len(made) < n:
        random = Random(f"{seed}:{len(made)}:{n}")
        x, y = sorted(("".join(random.choices("abcd", k=6)) for _ in "xy"), key=worth, reverse=True)
        y = y if worth(x) != worth(y) else x + "b"
        pair = Comparison(prompt=f"p{len(made)}", chosen=x, rejected=y)
        made.append(
            pair.flipped().model_copy(update={"provenance": pair.provenance}) if random.random() < wrong else pair
        )
    return made


def length(**x: Any) -> list[float]:
    return [float(len(c)) for c in x["completions"]]


def gold(**x: Any) -> list[float]:
    return [worth(c) for c in x["completions"]]


def test_a_vote_is_the_mean_lead_with_the_voters_spread() -> None:
    found = voted([Comparison(prompt="p", chosen="aaa", rejected="b", columns={"x": 1})], [length, gold])[0]
    assert found.columns == {"x": 1, "voted": (2 + 7.5) / 2, "voted_std": (7.5 - 2) / 2}
    assert voted(pairs(5), [gold, length]) == voted(pairs(5), [length, gold], batch_size=2)


def test_voters_who_learned_from_wrong_labels_find_them() -> None:
    told = pairs(400, wrong=0.25)
    voters = [HeadReward(Letters(), hidden=0, seed=s).fitted(told, epochs=2, seed=s, lr=2e-2) for s in range(3)]
    found = voted(told, voters)
    wrong = torch.tensor([worth(p.chosen) < worth(p.rejected) for p in told])
    strength = torch.tensor([p.columns["voted"] for p in found])
    auc = (strength[~wrong][:, None] > strength[wrong][None]).float().mean()
    assert float(auc) > 0.9
    mended = repaired(found, flip=0.2)
    right = sum(worth(p.chosen) > worth(p.rejected) for p in mended) / len(mended)
    assert right > 0.9
    assert [original(p) for p in mended] == told
    assert account(mended)["voting: flipped"] == {"weak": 80}


def test_repairing_flips_the_weakest_softens_what_is_still_below_0_and_keeps_all_strengths() -> None:
    told = [Comparison(prompt="p", chosen="x", rejected="y", columns={"voted": v}) for v in (2.0, -3.0, -1.0, 0.5)]
    both = repaired(told, flip=0.25, soften=0.2)
    assert [p.chosen for p in both] == ["x", "y", "x", "x"]
    assert [p.columns["margin"] for p in both] == [2.0, 3.0, -1.0, 0.5]
    assert [p.columns["target"] for p in both] == [1.0, 1.0, 0.8, 1.0]
    assert [p.columns["margin"] for p in repaired(told, margin=False)] == [0.0] * 4
    with pytest.raises(FeedbackError, match="record 1 has no number 'voted'"):
        repaired(pairs(1))
    with pytest.raises(ConfigError, match="soften in"):
        repaired(told, soften=0.5)


def loss_of(told: list[Comparison], reward: HeadReward) -> Tensor:
    return StrengthFitting(reward)(Rows(told)).sum


def with_own(target: float, margin: float, told: Sequence[Comparison]) -> list[Comparison]:
    return [p.model_copy(update={"columns": {"target": target, "margin": margin}}) for p in told]


def test_without_strengths_it_is_bradley_terry() -> None:
    reward, told = HeadReward(Letters(), seed=1), pairs(7)
    values = reward.values_of([Group(p.prompt, (p.chosen, p.rejected)) for p in told]).reshape(-1, 2)
    assert torch.equal(loss_of(with_own(1.0, 0.0, told), reward), bradley_terry(values[:, 0], values[:, 1]).sum())


def test_a_pair_flipped_with_its_margin_is_the_same_pair() -> None:
    reward, told = HeadReward(Letters(), seed=1), pairs(7)
    turned = [p.flipped() for p in told]
    assert torch.allclose(
        loss_of(with_own(0.9, 1.3, told), reward), loss_of(with_own(0.1, -1.3, turned), reward), atol=1e-5
    )


@pytest.mark.parametrize("margin", [-1.0, 0.0, 2.0])
def test_softened_pairs_are_content_at_the_margin_and_the_odds(margin: float) -> None:
    alpha = 0.3
    d = torch.tensor([margin + torch.tensor((1 - alpha) / alpha).log()], requires_grad=True)
    pairwise(d, 1 - alpha, margin).sum().backward()
    assert float(d.grad) == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]
    e = torch.tensor([0.7], requires_grad=True)
    pairwise(e, 1.0, margin).sum().backward()
    assert float(e.grad) == pytest.approx(-float(torch.sigmoid(torch.tensor(margin - 0.7)))), "it grows with the margin"  # type: ignore[arg-type]


def test_pairs_without_strengths_are_refused_before_training() -> None:
    with pytest.raises(FeedbackError, match="record 2 has no number 'target'"):
        StrengthFitting(HeadReward(Letters())).check([*with_own(1.0, 0.0, pairs(1)), *pairs(1)])
    with pytest.raises(ConfigError, match="its own target and margin"):
        StrengthFitting(HeadReward(Letters()), FitOptions(label_smoothing=0.1))
    with pytest.raises(FeedbackError, match="of one output"):
        StrengthFitting(HeadReward(Letters(), aspects=("x", "y"))).check([])


PROMPTS, ANSWERS = ["p"] * 80, [p.chosen for p in pairs(40)] + [p.rejected for p in pairs(40)]


@pytest.fixture(scope="module")
def ensemble() -> BayesianEnsemble:
    return BayesianEnsemble(Letters(), heads=4).taught_by(gold, PROMPTS, ANSWERS, epochs=80, lr=5e-2)


def test_heads_learn_the_reward_in_its_own_unit(ensemble: BayesianEnsemble) -> None:
    said = ensemble(prompts=PROMPTS, completions=ANSWERS)
    wanted = torch.tensor(gold(completions=ANSWERS))
    assert float(torch.corrcoef(torch.stack([said.members.mean(1), wanted]))[0, 1]) > 0.98  # type: ignore[union-attr]
    assert float((said.members.mean(1) - wanted).abs().mean()) < 0.2 * float(wanted.std())  # type: ignore[union-attr]
    assert said.std is not None
    assert bool((said.std > 0).all())


def test_heads_agree_where_they_were_taught_and_fear_what_they_have_not_seen() -> None:
    """Taught on short answers, asked about long ones; of heads on one and the same data, w would mean nothing."""
    sparse = [p.chosen[:2] for p in pairs(6)]
    found = {}
    for w in (0.0, 1.0):
        one = BayesianEnsemble(Letters(), heads=4, robust=w).taught_by(gold, ["p"] * 6, sparse, epochs=60, lr=5e-2)
        found[w] = [one(prompts=["p"] * n, completions=c).values for c in (sparse, ANSWERS) for n in [len(c)]]
    seen, unseen = (float((found[0.0][i] - found[1.0][i]).mean()) for i in (0, 1))
    assert unseen > 0.75 * float(torch.tensor(gold(completions=ANSWERS)).std())
    assert unseen > seen


def test_what_a_reward_does_not_apply_to_is_neither_taught_nor_voted_on() -> None:
    def some(**x: Any) -> list[float | None]:
        return [worth(c) if "c" in c else None for c in x["completions"]]

    having = [c for c in ANSWERS if "c" in c]
    one, other = (
        BayesianEnsemble(Letters(), heads=2).taught_by(some, ["p"] * len(a), a, epochs=2) for a in (ANSWERS, having)
    )
    assert one.fingerprint == other.fingerprint
    first = next(i for i, p in enumerate(pairs(9)) if "c" not in p.chosen or "c" not in p.rejected)
    with pytest.raises(FeedbackError, match=f"some does not apply to record {first + 1}"):
        voted(pairs(9), [gold, some], batch_size=2)


def test_more_fear_is_never_more_reward_and_none_is_the_surest_head(ensemble: BayesianEnsemble) -> None:
    table = []
    for w in (0.0, 0.4, 1.0):
        ensemble.robust = w
        table.append(ensemble(prompts=PROMPTS, completions=ANSWERS))
    ensemble.robust = 0.4
    assert bool((table[0].values >= table[1].values - 1e-5).all())
    assert bool((table[1].values >= table[2].values - 1e-5).all())
    members = table[0].members
    assert members is not None
    assert torch.allclose(table[2].values, members.min(1).values, atol=1e-5)
    _, deviations = ensemble.opinions(PROMPTS, ANSWERS)
    surest = members.gather(1, deviations.argmin(1, keepdim=True))[:, 0]
    assert torch.allclose(table[0].values, surest, atol=1e-5)


def test_the_worst_of_a_batch_is_no_worse_than_the_worst_of_each_sample() -> None:
    means = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    surest = torch.zeros(20, 1, dtype=torch.long)
    sample, batch = (mixed(means, surest, 1.0, w) for w in ("sample", "batch"))
    assert float(batch.mean()) >= float(sample.mean())
    assert float(batch.mean()) == pytest.approx(float(means.mean(0).min()))
    order = torch.tensor([2, 0, 3, 1])
    again = mixed(means[:, order], torch.full((20, 1), 1), 0.4, "sample")
    assert torch.allclose(again, mixed(means, surest, 0.4, "sample")), "heads have no order"
    assert torch.allclose(mixed(means + 3, surest, 0.4, "batch"), mixed(means, surest, 0.4, "batch") + 3)
    assert torch.allclose(mixed(means[:, :1], surest, 0.9, "sample"), means[:, 0]), "one head has one opinion"


def test_the_robust_objective_leads_to_its_saddle_point() -> None:
    """A policy over answers climbs the reward of the batches that it draws itself; where it ends, no mixture of heads could hurt it more:
    ``pi ~ pi_0 exp(r_q / beta)`` with the q that the dual minimises."""
    g, beta, w, n = torch.Generator().manual_seed(3), 0.5, 0.7, 4000
    means = torch.randn(6, 3, generator=g, dtype=torch.float64)
    surest = torch.randint(3, (6, 1), generator=g)
    logits, kept = torch.zeros(6, dtype=torch.float64), []
    for step in range(600):
        policy = torch.softmax(logits, -1)
        batch = torch.arange(6).repeat_interleave((n * policy).round().long())
        reward = torch.zeros(6, dtype=torch.float64)
        reward[batch] = mixed(means[batch], surest[batch], w, "batch")
        rise = reward - beta * (policy * 6).log()
        logits = logits + policy / (1 + 0.02 * step) * (rise - (policy * rise).sum())
        kept.append(policy)

    def ends_at(q: Any) -> Tensor:
        return ((1 - w) * means.gather(1, surest)[:, 0] + w * means @ torch.tensor(q, dtype=means.dtype)) / beta

    shares = [(a / 40, b / 40, (40 - a - b) / 40) for a in range(41) for b in range(41 - a)]
    worst = min(shares, key=lambda q: float(ends_at(q).logsumexp(0)))
    found = torch.stack(kept[-200:]).mean(0)
    assert 0.5 * float((found - torch.softmax(ends_at(worst), -1)).abs().sum()) < 0.01
    plain = torch.softmax(means.gather(1, surest)[:, 0] / beta, -1)
    assert 0.5 * float((found - plain).abs().sum()) > 0.1, "which is another one than that of the nominal reward"


def test_the_sampled_loss_is_error_and_variance_in_expectation() -> None:
    model = BayesianEnsemble(Letters(), heads=3, seed=2)
    rows = Rows(Example(prompt="p", completion=c, columns={"value": 0.5, "times": [1.0] * 3}) for c in ("ab", "cd"))
    teaching = HeadTeaching(model)
    with torch.no_grad():
        drawn = torch.stack([teaching(teaching.experience(rows, Step(i, 0))).sum for i in range(600)])
        means, deviations = model.opinions(["p"] * 2, ["ab", "cd"])
    wanted = ((means - 0.5).square() + deviations.square()).mean(1).sum()
    assert abs(float(drawn.mean() - wanted)) < 4 * float(drawn.std()) / 600**0.5


def test_an_ensemble_that_was_taught_nothing_says_nothing() -> None:
    with pytest.raises(ConfigError, match="teach it a reward first"):
        BayesianEnsemble(Letters())(prompts=["p"], completions=["a"])
    with pytest.raises(FeedbackError, match="nothing to teach"):
        BayesianEnsemble(Letters()).taught_by(lambda **x: [1.0] * len(x["prompts"]), PROMPTS, ANSWERS)
