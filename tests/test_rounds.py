"""Self-rewarding by rounds: whose answers become pairs, how far labels are trusted, and what a round starts from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accord import losses
from accord.algorithms import CREAM, DPO, Round, SelfRewarding, TemporalSelfRewarding
from accord.algorithms.rounds.cream import agreement, likelihood
from accord.algorithms.rounds.self_rewarding import Pool
from accord.engine import Rows, Run, Step, Training, fit
from accord.errors import ConfigError, FeedbackError, RunError
from accord.policies import LanguagePolicy, Sampling
from accord.rewards import Scores
from accord.worlds import letters
from conftest import tiny_policy
from test_algorithms import fake
from test_preference import logprobs

SHORT = Sampling(max_new_tokens=8)
TASKS = letters.tasks(4, seed=2)
TRAINING = Training(steps=2, batch_size=2, lr=1e-3, progress=False)
orders = st.lists(st.integers(0, 1000), min_size=3, max_size=7, unique=True)


# CREAM.


@given(orders, st.randoms())
def test_agreement_is_kendalls_tau_and_spearmans_rho_whatever_the_scales(first: list[int], random: Any) -> None:
    second = random.sample(first, len(first))
    a, b = torch.tensor(first).float(), torch.tensor(second).float()
    assert agreement(a, b) == pytest.approx((stats.kendalltau(first, second).statistic + 1) / 2, abs=1e-5)
    assert agreement(a, b, "spearman") == pytest.approx((stats.spearmanr(first, second).statistic + 1) / 2, abs=1e-5)
    for m in ("kendall", "spearman", "ends"):
        assert agreement(a, b, m) == agreement(b, a, m)
        assert agreement(a, a, m) == pytest.approx(1)
        assert agreement(a, -a, m) == pytest.approx(0, abs=1e-6)
        assert agreement(a, b, m) == pytest.approx(agreement(a, (b / 300).exp() + 5, m)), "only the order counts"


def test_the_loss_mixes_a_label_and_its_reverse_and_its_minimum_is_the_trusts_odds() -> None:
    c, r = logprobs(1), logprobs(2)
    for trust in (0.5, 0.7, 1.0):
        mixed = losses.dpo(c, r, target=trust)
        assert torch.allclose(mixed, trust * losses.dpo(c, r) + (1 - trust) * losses.dpo(r, c), atol=1e-6)
        assert torch.allclose(mixed, losses.dpo(r, c, target=1 - trust), atol=1e-6)
    d = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(losses.pairwise(d, 0.8), d)[0]
    assert float(slope) == pytest.approx(torch.sigmoid(d).item() - 0.8)
    assert float(losses.pairwise(torch.tensor(0.8 / 0.2).log(), 0.8)) < float(losses.pairwise(torch.tensor(1.2), 0.8))
    lam = 2 * (1 - 0.8) / (2 * 0.8 - 1)
    ell = lambda u: -torch.nn.functional.logsigmoid(torch.tensor(u))  # noqa: E731
    kl = 0.5 * (ell(1.5) + ell(-1.5)) - torch.tensor(2.0).log()
    assert torch.allclose(
        losses.pairwise(torch.tensor(1.5), 0.8), (ell(1.5) + lam * (kl + torch.tensor(2.0).log())) / (1 + lam)
    )


def scored(values: list[list[float]]) -> tuple[Any, torch.Tensor]:
    group = [g for g, row in enumerate(values) for _ in row]
    drawn = replace(
        fake(group, [3] * len(group)), completions=[f"{g}.{i}" for g, row in enumerate(values) for i in range(len(row))]
    )
    return drawn, torch.tensor([v for row in values for v in row])


def test_the_best_and_the_worst_become_a_pair_with_its_own_or_the_mean_trust() -> None:
    drawn, reward = scored([[1.0, 5.0, 3.0], [2.0, 2.0, 2.0], [0.0, -1.0, 4.0]])
    _, before = scored([[1.0, 5.0, 3.0], [1.0, 2.0, 3.0], [0.0, 4.0, -1.0]])
    policy = tiny_policy()
    each, average, full, floor = (CREAM(policy, policy, trust=t, least=m).pairs(drawn, reward, before)  # type: ignore[arg-type]
                                  for t, m in (("each", 0.0), ("average", 0.0), ("full", 0.0), ("each", 0.5)))  # fmt: skip
    assert [(p.chosen, p.rejected) for p in each] == [("0.1", "0.0"), ("2.2", "2.1")], (
        "where all are alike there is none"
    )
    assert [p.columns["trust"] for p in each] == pytest.approx([1.0, 0.0])
    assert [p.columns["trust"] for p in average] == pytest.approx([0.5, 0.5])
    assert [p.columns["trust"] for p in full] == [1.0, 1.0]
    assert [p.columns["trust"] for p in floor] == [1.0, 0.5]
    shifted = reward + torch.tensor([7.0] * 3 + [-2.0] * 3 + [0.5] * 3)
    again = CREAM(policy, policy, trust="each").pairs(drawn, shifted, before)
    assert again == each, "what a prompt is worth changes neither pair nor trust"


def test_the_first_round_orders_by_mean_log_prob_and_later_ones_by_the_last_rounds_reward() -> None:
    policy, base = letters.policy(), tiny_policy(seed=3)
    method = CREAM(policy, base, samples=4, sampling=SHORT, trust="each")
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    pairs = method.pairs
    method.pairs = lambda drawn, reward, before: seen.append((reward, before)) or pairs(drawn, reward, before)  # type: ignore[method-assign, func-returns-value]
    snapshot, older = policy.freeze("now"), tiny_policy(seed=4).freeze("now")
    drawn = snapshot.sample([t.prompt for t in TASKS], 4, SHORT, seed=5, context={})
    theirs, ours = likelihood(base, drawn), likelihood(snapshot, drawn)
    method.build(Round(0, 5, policy, (snapshot,)), TASKS)
    algorithm, rows = method.build(Round(1, 5, policy, (older, snapshot)), TASKS)
    assert torch.allclose(seen[0][0], 0.1 * (ours - theirs), atol=1e-4)
    assert torch.allclose(seen[0][1], theirs / drawn.length, atol=1e-4)
    assert torch.allclose(seen[1][1], likelihood(older, drawn) - theirs, atol=1e-3)
    assert isinstance(algorithm, DPO)
    assert algorithm.reference is not None
    assert algorithm.reference.policy is snapshot, (
        "DPO compares with where the round begins, ranking with the reference"
    )
    loss = algorithm(algorithm.experience(Rows(rows), Step(0, 0)))
    assert torch.isfinite(loss.sum)


def test_a_policy_that_is_still_what_it_was_before_is_refused() -> None:
    policy = letters.policy()
    with pytest.raises(ConfigError, match="give the model before its supervised training"):
        CREAM(policy, "base", sampling=SHORT).fit(TASKS, TRAINING)


# Self-rewarding, now and by times.


def pool(source: str, values: list[list[float | None]]) -> Pool:
    flat = [v for row in values for v in row]
    drawn = replace(fake([g for g, row in enumerate(values) for _ in row], [2] * len(flat)),
                    completions=[f"{source}{g}.{i}" for g, row in enumerate(values) for i in range(len(row))])  # fmt: skip
    valid = torch.tensor([v is not None for v in flat])
    return Pool(source, drawn, Scores(torch.tensor([v or 0.0 for v in flat]), valid))


TEMPORAL = TemporalSelfRewarding(tiny_policy(), sampling=SHORT)
tables = st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=2)


@given(tables, tables, tables)
def test_rejected_is_the_worst_of_now_and_the_start_chosen_the_best_of_now_and_the_future(now, start, future) -> None:  # type: ignore[no-untyped-def]
    method = TEMPORAL
    mine, past, ahead = pool("now", now), pool("start", start), pool("future", future)
    made = {str(p.prompt): p for p in method.pairs(["p0", "p1"], [mine, ahead], [mine, past])}
    for i in range(2):
        best, worst = max(now[i] + future[i]), min(now[i] + start[i])
        assert (f"p{i}" in made) == (best > worst)
        if best > worst:
            pair = made[f"p{i}"]
            assert pair.strength == best - worst
            assert str(pair.chosen).startswith("now" if max(now[i]) == best else "future"), "ties fall to now"
            assert str(pair.rejected).startswith("now" if min(now[i]) == worst else "start")
            assert pair.provenance.source is not None
    same = method.pairs(["p0", "p1"], [mine, mine], [mine, mine])
    plain = method.pairs(["p0", "p1"], [mine], [mine])
    assert same == plain, "of one time it is plain self-rewarding"


def test_answers_that_nobody_could_judge_become_no_pair() -> None:
    method = SelfRewarding(tiny_policy(), sampling=SHORT)
    mine = pool("now", [[None, 3.0, 1.0], [None, None, None]])
    assert [(p.chosen, p.rejected) for p in method.pairs(["a", "b"], [mine], [mine])] == [("now0.1", "now0.2")]


def wordy(*, prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(c)) for c in completions]


def test_the_future_shows_the_way_and_leaves_the_policy_where_it_was() -> None:
    policy = letters.policy()
    before = [p.clone() for p in policy.parameters()]
    method = TemporalSelfRewarding(policy, wordy, samples=3, sampling=SHORT)
    now = Round(0, 1, policy, (policy.freeze("now"),), TRAINING)
    pairs = method.pairs(TASKS, *[[method.pool(now, "now", now.snapshots[-1], TASKS)]] * 2)
    ahead = method.ahead(now, pairs)
    assert any(not torch.equal(a, b) for a, b in zip(ahead.parameters(), before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), before, strict=True))


def test_each_source_has_draws_of_its_own() -> None:
    policy = letters.policy()
    method = SelfRewarding(policy, wordy, samples=3, sampling=SHORT)
    now = Round(0, 1, policy, (policy.freeze("now"),), TRAINING)
    mine, start, again = (
        method.pool(now, s, now.snapshots[0], TASKS).drawn.completions for s in ("now", "start", "now")
    )
    assert mine == again
    assert sum(a == b for a, b in zip(mine, start, strict=True)) < len(mine) / 2, (
        "the policy as it is now and at the start is the same in the first round"
    )


class Asked:
    """Counts which frozen policy judges."""

    def __init__(self) -> None:
        self.judges: list[Any] = []

    def __call__(self, policy: Any) -> Any:
        self.judges.append(policy)
        return wordy


def test_all_of_a_round_is_judged_by_the_policy_as_the_round_finds_it_and_rounds_have_their_own_prompts(
    tmp_path,
) -> None:  # type: ignore[no-untyped-def]
    policy, judge = letters.policy(), Asked()
    asked: list[list[str]] = []

    class Watched(TemporalSelfRewarding):
        def build(self, now: Round, rows: Sequence[Any]) -> Any:
            asked.append([r.prompt for r in rows])
            found = super().build(now, rows)
            assert all(j is now.snapshots[-1] for j in judge.judges)
            judge.judges.clear()
            return found

    run = Watched(policy, judge=judge, rounds=2, samples=3, sampling=SHORT).fit(TASKS, TRAINING, out=tmp_path)
    assert [m["step"] for m in run.metrics] == [1, 2, 3, 4], "two rounds of two steps"
    assert sorted(p for some in asked for p in some) == sorted(str(t.prompt) for t in TASKS)
    assert not set(asked[0]) & set(asked[1])
    with pytest.raises(FeedbackError, match="3 rounds want as many records"):
        SelfRewarding(policy, wordy, rounds=3, sampling=SHORT).fit(TASKS[:2], TRAINING)


def test_a_policy_that_judges_itself_is_asked_and_what_it_cannot_say_is_left_out(base_policy: LanguagePolicy) -> None:
    method = SelfRewarding(base_policy, samples=2, sampling=SHORT)
    now = Round(0, 1, base_policy, (base_policy.freeze("now"),), TRAINING)
    found = method.pool(now, "now", now.snapshots[-1], TASKS[:2])
    assert found.scores.text is not None
    assert all(t.count("---") == 2 for t in found.scores.text), "three verdicts"
    assert torch.equal(found.scores.valid, found.scores.parsed)


# All rounds as one run.


def test_rounds_are_one_run_whose_steps_are_counted_through_and_which_ends_as_the_last_one(tmp_path: Path) -> None:
    policy, seen = letters.policy(), list[int]()

    def look(step: int) -> dict[str, float]:
        seen.append(step)
        return {"first": float(next(iter(policy.parameters())).sum())}

    method = SelfRewarding(policy, wordy, rounds=2, samples=3, sampling=SHORT)
    run = method.fit(TASKS, TRAINING, out=tmp_path, evaluate=look, info={"title": "two rounds"})
    own = [Run.open(tmp_path / f"round-{r}") for r in range(2)]
    assert [m["loss"] for m in run.metrics] == [m["loss"] for r in own for m in r.metrics]
    assert seen == [0, 2, 2, 4]
    assert [e["step"] for e in run.evaluations] == [0, 2, 4]
    assert run.evaluations[-1]["first"] == own[1].evaluations[-1]["first"] != run.evaluations[0]["first"]
    told = Run.open(tmp_path)
    assert (told.metrics, told.evaluations) == (run.metrics, run.evaluations)
    assert told.info["ended"] == own[1].info["ended"]
    assert told.info["began"]["model"] == own[0].info["began"]["model"]
    assert (told.info["title"], told.info["status"], told.info["steps"]) == ("two rounds", "finished", 4)


def test_rounds_that_were_stopped_go_on_as_they_began_and_end_the_same(tmp_path: Path) -> None:
    def made(policy: LanguagePolicy, **options: Any) -> SelfRewarding:
        return SelfRewarding(policy, wordy, rounds=2, sampling=SHORT, **{"samples": 3, **options})

    whole, stopped, again = letters.policy(), letters.policy(), letters.policy()
    made(whole).fit(TASKS, TRAINING, out=tmp_path / "whole")

    def stop(step: int) -> dict[str, float]:
        if step == 4:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        made(stopped).fit(TASKS, TRAINING, out=tmp_path / "s", evaluate=stop)
    assert Run.open(tmp_path / "s").info["status"] == "interrupted"
    assert len(Run.open(tmp_path / "s").metrics) == 2, "the round that has ended"
    with pytest.raises(RunError, match="already holds a run: go on with --resume"):
        made(letters.policy()).fit(TASKS, TRAINING, out=tmp_path / "s")
    with pytest.raises(RunError, match=r"was begun otherwise: algorithm\.samples: 3 -> 4"):
        made(letters.policy(), samples=4).fit(TASKS, TRAINING, out=tmp_path / "s", resume=True)
    run = made(again).fit(TASKS, TRAINING, out=tmp_path / "s", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert [m["step"] for m in run.metrics] == [1, 2, 3, 4]


def test_who_calls_fit_as_for_other_methods_is_told_where_rounds_have_theirs() -> None:
    with pytest.raises(ConfigError, match=r"SelfRewarding learns in rounds: call SelfRewarding\(…\).fit"):
        fit(SelfRewarding(letters.policy(), wordy, sampling=SHORT), TASKS, TRAINING)
