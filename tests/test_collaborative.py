"""Peer review: who learns from what, in which order, and what becomes of wrong labels."""

from itertools import pairwise
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accord.engine import Rows, Step, fit
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison, notes_of
from accord.rewards import BradleyTerry, CollaborativeRewardModeling, HeadReward, WordFeatures, collaborate, score
from accord.rewards.collaborative_reward_modeling import picked
from accord.rewards.fitting import RewardFitting
from accord.worlds import letters

WORDS = WordFeatures(64)


def pairs(n: int, wrong: float = 0.0) -> tuple[list[Comparison], list[bool]]:
    """Comparisons of answers with more or fewer good words, and which are labelled wrongly."""
    made, odd = [], []
    for i in range(n):
        random = Random(f"pair:{i}")
        sides = [
            " ".join(random.choices(kinds, k=6)) for kinds in (["good", "fine", "thing"], ["bad", "poor", "thing"])
        ]
        odd.append(random.random() < wrong)
        chosen, rejected = sides[::-1] if odd[-1] else sides
        made.append(Comparison(prompt=f"p{i}", chosen=f"{chosen} {i}", rejected=f"{rejected} {i}"))
    return made, odd


def head(seed: int) -> HeadReward:
    return HeadReward(WORDS, hidden=0, seed=seed)


def weights(reward: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in reward.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


QUICK: dict[str, Any] = {"steps": 6, "batch_size": 8, "lr": 1e-2, "progress": False}


def test_without_noise_and_curriculum_it_is_two_plain_trainings_to_the_bit() -> None:
    told, _ = pairs(20)
    both = collaborate(head(1), head(2), told, noise=0.0, curriculum=False, **QUICK)
    for seed, reward in ((1, both.first), (2, both.second)):
        alone = head(seed)
        fit(RewardFitting(alone), told, **QUICK)
        assert same(weights(reward), weights(alone))


def cut_up(**options: Any) -> CollaborativeRewardModeling:
    told, _ = pairs(24, wrong=0.4)
    return collaborate(head(1), head(2), told, noise=0.4, warm=0.0, **{**QUICK, **options})


@pytest.mark.parametrize("micro", [1, 3])
def test_what_is_picked_of_a_batch_does_not_depend_on_how_it_is_cut(micro: int) -> None:
    whole, cut = cut_up(), cut_up(micro_batch_size=micro)
    assert torch.equal(cut.picked, whole.picked)
    assert torch.allclose(cut.leads, whole.leads, atol=2e-3), "Adam makes much of a little"
    assert not bool(whole.picked.all()), "of every one alone it would be all"


@pytest.mark.parametrize("n", [1, 7, 10])
@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
def test_so_many_are_picked_and_those_of_the_greatest_lead_which_cost_least(n: int, share: float) -> None:
    leads = torch.randn(n, generator=torch.Generator().manual_seed(n))
    mask = picked(leads, share)
    assert int(mask.sum()) == -(-round(share * n * 1000) // 1000)
    assert torch.equal(mask, picked(leads.exp() * 3 + 1, share)), "any scale that grows"
    cost = nn.functional.softplus(-leads)
    if 0 < int(mask.sum()) < n:
        assert float(cost[mask].max()) <= float(cost[~mask].min())


def step_of(told: list[Comparison], first: HeadReward, second: HeadReward, **options: Any) -> list[list[Tensor]]:
    learner = CollaborativeRewardModeling(
        first, second, told, **{"noise": 0.5, "warm": 0.0, "curriculum": False, **options}
    )
    loss = learner(learner.experience(Rows(told), Step(0, 0)))
    loss.sum.backward()
    return [[p.grad.clone() for p in r.parameters() if p.grad is not None] for r in (first, second)]


def test_each_learns_from_what_the_other_trusts() -> None:
    told, _ = pairs(12, wrong=0.4)
    ab, ba = step_of(told, head(1), head(2)), step_of(told, head(2), head(1))
    assert same(ab[0], ba[1])
    assert same(ab[1], ba[0])
    other = step_of(told, head(3), head(2))
    assert not same(other[1], ab[1]), "what the first trusts teaches the second"
    own, own2 = step_of(told, head(1), head(2), review="self"), step_of(told, head(3), head(2), review="self")
    assert same(own[1], own2[1]), "and nothing but its own choice teaches who reviews itself"
    assert not same(own[0], ab[0])
    twin, alone = step_of(told, head(1), head(1)), step_of(told, head(1), head(1), review="self")
    assert same(twin[0], alone[0]), "twins are one who reviews itself"


class Oracle(HeadReward):
    """Knows which is better."""

    def values_of(self, groups: Any) -> Tensor:
        texts = [c for g in groups for c in g.completions]
        known = torch.tensor(
            [[float(t.count("good") + t.count("fine") - t.count("bad") - t.count("poor"))] for t in texts]
        )
        return known + 0.0 * super().values_of(groups)


def test_who_knows_the_truth_never_picks_a_wrong_label_while_right_ones_are_left() -> None:
    told, odd = pairs(64, wrong=0.3)
    learner = CollaborativeRewardModeling(Oracle(WORDS), Oracle(WORDS), told, noise=0.5, warm=0.0, curriculum=False)
    for number in range(4):
        reviewed = learner.experience(Rows(told[:16]), Step(number, 0))
        learner(reviewed)
        wrong = torch.tensor([odd[i] for i in reviewed.at.tolist()])
        if int((~wrong).sum()) >= 8:
            assert not bool(learner.picked[:, reviewed.at][:, wrong].any())


def order(learner: CollaborativeRewardModeling, steps: range, size: int) -> list[int]:
    return [i for n in steps for i in learner.experience(Rows(learner.pairs[:size]), Step(n, 7)).at.tolist()]


def test_every_pass_visits_each_pair_once_and_later_ones_go_from_easy_to_hard() -> None:
    told, _ = pairs(24)
    learner = CollaborativeRewardModeling(head(1), head(2), told, window=2)
    first = order(learner, range(6), 4)
    assert sorted(first) == [*range(24)]
    assert first != [*range(24)]
    learner.leads = torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
    second = order(learner, range(6, 12), 4)
    assert sorted(second) == [*range(24)]
    chunks = learner.leads.mean(0)[second].reshape(3, 8)
    assert all(float(a.min()) >= float(b.max()) for a, b in pairwise(chunks))
    assert second[:8] != learner.leads.mean(0).argsort(descending=True)[:8].tolist(), "shuffled within a window"
    learner.leads = torch.randn(2, 24)
    assert order(learner, range(6, 12), 4) == second, "a pass keeps the order in which it began"


def test_several_processes_visit_each_pair_once_too_where_a_step_straddles_two_passes() -> None:
    told, _ = pairs(7)
    ranks = [CollaborativeRewardModeling(head(1), head(2), told, window=1) for _ in range(2)]
    visits: list[int] = []
    for number in range(7):
        leads = torch.randn(2, 7, generator=torch.Generator().manual_seed(number))
        for learner in ranks:
            learner.leads = leads
        at = [x.experience(Rows(told[:2]), Step(number, 7, rank, 2)).at.tolist() for rank, x in enumerate(ranks)]
        visits += [i for row in zip(*at, strict=True) for i in row]
    for number in range(4):
        assert sorted(visits[7 * number : 7 * number + 7]) == [*range(7)]


def test_the_share_that_is_left_out_grows_from_nothing() -> None:
    told, _ = pairs(40)
    learner = CollaborativeRewardModeling(head(1), head(2), told, noise=0.4, warm=2.0, curriculum=False)
    shares = []
    for number in (0, 5, 10, 20, 30):
        step = Step(number, 0)
        learner.experience(Rows(told[:4]), step)
        shares.append(step.metrics["share"].value)
    assert shares == pytest.approx([1.0, 0.9, 0.8, 0.6, 0.6])


def test_going_on_it_is_where_it_was(tmp_path: Any) -> None:
    told, _ = pairs(20, wrong=0.3)

    class Stop(Exception):
        pass

    def stop(step: int) -> dict[str, float]:
        if step == 5:
            raise Stop
        return {}

    options = {**QUICK, "steps": 8, "checkpoint_every": 5, "window": 1}
    whole = collaborate(head(1), head(2), told, **options)
    with pytest.raises(Stop):
        collaborate(head(1), head(2), told, **options, out=tmp_path, evaluate_every=5, evaluate=stop)
    del options["window"]
    again = CollaborativeRewardModeling(head(1), head(2), told, window=1)
    fit(again, told, **options, out=tmp_path, resume=True)
    assert same(weights(again.first), weights(whole.first))
    assert torch.equal(again.leads, whole.leads)


def test_wrong_labels_are_dropped_with_a_note_and_the_mean_of_both_ranks_rightly() -> None:
    told, odd = pairs(300, wrong=0.3)
    both = collaborate(head(1), head(2), told, noise=0.3, epochs=4, batch_size=32, lr=1e-2)
    reviewed = both.reviewed()
    gone = [p.provenance.status == "dropped" for p in reviewed]
    assert sum(g and o for g, o in zip(gone, odd, strict=True)) / sum(gone) > 0.75, "of all, 0.3 are wrong"
    assert {notes_of(p)[-1]["why"] for p in reviewed} >= {"picked by neither", "picked by both"}
    clean, _ = pairs(60)
    said = score(
        both.both,
        prompts=[p.prompt for p in clean] * 2,
        completions=[*(p.chosen for p in clean), *(p.rejected for p in clean)],
    ).values
    assert float((said[:60] > said[60:]).float().mean()) > 0.9
    with pytest.raises(ConfigError, match="noise in"):
        collaborate(head(1), head(2), told, noise=1.0)


def test_other_pairs_several_outputs_and_what_is_too_long_are_refused_before_training() -> None:
    told, _ = pairs(10)
    with pytest.raises(FeedbackError, match="the 10 pairs that it was made with"):
        fit(CollaborativeRewardModeling(head(1), head(2), told), told[:9], **QUICK)
    several = HeadReward(WORDS, hidden=0, aspects=["kind", "short"])
    with pytest.raises(FeedbackError, match="rates kind, short"):
        collaborate(head(1), several, told, **QUICK)
    model = BradleyTerry.load(letters.WEIGHTS)
    long = [p.model_copy(update={"chosen": "yes " * 3000}) for p in told]
    with pytest.raises(FeedbackError, match="record 1"):
        collaborate(model, head(2), long, **QUICK)


def test_what_no_step_came_to_is_not_called_reviewed() -> None:
    told, _ = pairs(20)
    learner = CollaborativeRewardModeling(head(1), head(2), told)
    fit(learner, told, **{**QUICK, "steps": 1})
    why = [notes_of(p)[-1]["why"] for p in learner.reviewed()]
    assert why.count("not reviewed") == 12
