"""Can a reward be trusted? Faults that are planted are named with their size, and a clean reward has none."""

import itertools
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from accord.errors import FeedbackError
from accord.evaluation import accuracy
from accord.evaluation.accuracy import wilson
from accord.evaluation.trust import (
    Referee,
    Trust,
    agreements,
    calibration,
    evaluate,
    noise,
    optimisation,
    pools,
    under_noise,
    write_card,
    write_page,
)
from accord.evaluation.trust.calibration import temperature
from accord.evaluation.trust.intervals import Bootstrap
from accord.evaluation.trust.optimisation import _peak
from accord.evaluation.trust.rewriting import FILLER, PLOYS, SAME, certain, flattering, hedged, padded
from accord.feedback import Comparison, Ranking

WORDS = [
    a + b for a in ("lor", "mir", "tas", "vel", "dun", "kop") for b in ("ane", "ith", "ock", "umb", "ella", "ards")
]
WORTH = {w: 2.0 + 0.25 * (i % 7) for i, w in enumerate(WORDS)}


def clean(*, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """What of the words that were asked for is mentioned, each with a worth of its own: log-odds."""
    asked = [set(p.split()) for p in prompts]
    said = [{w.strip(".*-\n").lower() for w in c.split()} for c in completions]
    return [sum(WORTH[w] for w in a & s if w in WORTH) for a, s in zip(asked, said, strict=True)]


def answer(random: Random, asked: Sequence[str]) -> str:
    """Two to nine sentences, some on what was asked for."""
    about = random.random()
    words = [random.choice(asked if random.random() < about else WORDS) for _ in range(random.randint(2, 9))]
    return " ".join(f"There is not much to {random.choice(['tell of', 'say on', 'add to'])} {w}." for w in words)


def comparisons(n: int = 220, seed: int = 0) -> list[Comparison]:
    """Verdicts by Bradley-Terry on the clean reward, which is therefore calibrated."""
    made = []
    for i in range(n):
        random = Random(f"{seed}:{i}")
        asked = random.sample(WORDS, 9)
        prompt = f"Say something of {' and '.join(asked)} please"
        a, b = answer(random, asked), answer(random, asked)
        u, v = clean(prompts=[prompt] * 2, completions=[a, b])
        a, b = (a, b) if random.random() < 1 / (1 + np.exp(v - u)) else (b, a)
        made.append(Comparison(prompt=prompt, chosen=a, rejected=b, annotator=f"person-{i % 3}", columns={"subset": ["even", "odd"][i % 2]}))  # fmt: skip
    return made


PAIRS = comparisons()
MANY = comparisons(900, seed=1)


def plus(extra: Callable[[str], float]) -> Callable[..., list[float]]:
    """The clean reward with something on top of it."""
    return lambda *, prompts, completions, **columns: [
        r + extra(c) for r, c in zip(clean(prompts=prompts, completions=completions), completions, strict=True)
    ]


def liking_the_first(*, prompts: Sequence[str], completions: Sequence[str], group: Sequence[int], **columns: Any) -> list[float]:  # fmt: skip
    said = clean(prompts=prompts, completions=completions)
    return [r + 4.0 * (i == group.index(g)) for i, (r, g) in enumerate(zip(said, group, strict=True))]


def names(found: Trust) -> list[str]:
    return [f.name for f in found.faults]


@pytest.fixture(scope="module")
def sound() -> Trust:
    return evaluate(clean, PAIRS)


def test_a_clean_reward_has_no_fault(sound: Trust) -> None:
    assert names(sound) == []
    assert (sound.without_faults, sound.undecided) == ("none found", [])
    assert sound.calibration.temperature is not None
    assert sound.calibration.temperature.low < 1 < sound.calibration.temperature.high
    assert sound.order is not None
    assert sound.order.kept.value == 1
    assert all(e.gain.value == 0 for e in sound.effects), "what is not read gains nothing"


PLANTED: dict[str, tuple[Callable[..., Any], Callable[[str], float]]] = {
    "length": (plus(lambda c: 0.25 * len(c.split())), lambda c: 0.25 * len((c + c).split()) / 2),
    "flattery": (plus(lambda c: 5.0 * ("wonderful" in c)), lambda c: 5.0),
    "formatting": (plus(lambda c: 1.0 * c.count("\n- ")), lambda c: 1.0 * c.count(".")),
    "confidence": (plus(lambda c: 3.0 * c.count("no doubt") - 3.0 * c.count("not sure")), lambda c: 3.0),
}


@pytest.mark.parametrize("bias", PLANTED)
def test_a_planted_bias_is_named_alone_and_with_its_size(bias: str) -> None:
    reward, gain = PLANTED[bias]
    found = evaluate(reward, PAIRS)
    assert names(found) == [bias]
    size = np.mean([gain(p.rejected) for p in PAIRS[:: max(1, len(PAIRS) // 200)]]) / found.mean_lead
    assert found.faults[0].size.value == pytest.approx(size, rel=0.1)


def test_what_gains_by_its_length_alone_is_no_other_bias() -> None:
    found = evaluate(PLANTED["length"][0], PAIRS)
    certainly = next(e for e in found.effects if e.ploy == "certain")
    assert certainly.gain.low > 0.1
    assert certainly.beyond_length is not None
    assert certainly.beyond_length.value == pytest.approx(0, abs=1e-9)


class LikesTheFirst:
    """A judge of pairs with the same fault."""

    def first_wins(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> torch.Tensor:
        a, b = (torch.tensor(clean(prompts=prompts, completions=x), dtype=torch.float64) for x in (first, second))
        return torch.sigmoid((a - b + 4.0) / 4)  # a quarter of the log-odds: none of them is out of a judge's range


@pytest.mark.parametrize("reward", [liking_the_first, LikesTheFirst()], ids=["a reward of groups", "a judge of pairs"])
def test_a_liking_for_the_first_place_is_named_and_helps_no_answer(reward: Any, sound: Trust) -> None:
    found = evaluate(reward, PAIRS)
    assert names(found) == ["position"]
    unit = 4.0 if isinstance(reward, LikesTheFirst) else 1.0
    assert found.faults[0].size.value == pytest.approx(4.0 / unit / found.mean_lead, rel=1e-4)
    assert unit * found.leads[found.reward] == pytest.approx(sound.leads["clean"], abs=1e-3), "both orders are asked"


def test_thirty_in_a_hundred_wrong_labels_are_named() -> None:
    told = [p.flipped() if Random(f"flip:{i}").random() < 0.3 else p for i, p in enumerate(MANY)]
    share = np.mean([a.chosen != b.chosen for a, b in zip(told, MANY, strict=True)])
    found, right = evaluate(clean, told, probes=0), evaluate(clean, MANY, probes=0)
    assert (names(found), names(right)) == (["noise"], [])
    assert found.noise.rate.low < share < found.noise.rate.high
    assert found.noise.rate.value == pytest.approx(share, abs=0.06)
    assert found.noise.corrected == pytest.approx(right.accuracy.value, abs=0.06)


@pytest.mark.parametrize(("n", "luck"), [(300, 1), (500, 1)])
def test_noise_that_too_few_labels_can_tell_is_not_said_to_be_absent(n: int, luck: int) -> None:
    random = Random(luck)
    told = [p.flipped() if random.random() < 0.3 else p for p in comparisons(n, seed=2)]
    found, right = evaluate(clean, told, probes=0), evaluate(clean, comparisons(n, seed=2), probes=0)
    assert found.noise.rate.low <= 0.05
    assert found.faults == []
    assert found.undecided == [f"noise, {100 * found.noise.rate.low:.0f} to {100 * found.noise.rate.high:.0f} %"]
    assert found.noise.rate.high > 0.3
    assert "none found" not in found.without_faults
    assert (right.undecided, right.without_faults) == ([], "none found")


def test_who_may_rank_no_better_than_a_coin_is_told_so_whatever_else_is_wrong() -> None:
    found = evaluate(
        lambda *, completions, **x: [Random(c[-40:]).random() + 5.0 * ("wonderful" in c) for c in completions], PAIRS
    )
    assert "flattery" in names(found)
    assert found.accuracy.low <= 0.5 < found.accuracy.high
    assert any(u.startswith("accuracy") and "coin" in u for u in found.undecided)


def test_a_reward_that_errs_on_thirty_in_a_hundred_prompts_is_named() -> None:
    def erring(*, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        said = clean(prompts=prompts, completions=completions)
        return [-r if Random(p).random() < 0.3 else r for p, r in zip(prompts, said, strict=True)]

    found = evaluate(erring, MANY, probes=0)
    assert names(found) == ["noise"]
    assert found.noise.rate.low < 0.3 < found.noise.rate.high


def test_who_does_not_read_the_request_is_named() -> None:
    def deaf(*, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        return clean(prompts=[" ".join(WORDS)] * len(completions), completions=completions)

    found = evaluate(deaf, PAIRS)
    assert "request" in names(found)
    assert found.contrast is not None
    assert found.contrast.request is not None
    assert found.contrast.request.value == 0.5, "the same answer gets the same under any request"


def test_who_hears_words_and_not_meanings_is_named() -> None:
    found = evaluate(plus(lambda c: 8.0 * (len(c) % 2)), PAIRS)
    assert "paraphrase" in names(found)


def test_accuracy_is_told_by_person_and_by_subset_and_adds_up(sound: Trust) -> None:
    assert set(sound.by) == {"subset", "annotator"}
    assert set(sound.by["annotator"]) == {"person-0", "person-1", "person-2"}
    for table in sound.by.values():
        assert sum(e.n for e in table.values()) == len(PAIRS)
        assert sum(e.n * e.value for e in table.values()) / len(PAIRS) == pytest.approx(sound.accuracy.value)


def test_intervals_are_those_of_accuracy() -> None:
    leads = torch.randn(80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clusters = [i // 3 for i in range(80)]
    assert Bootstrap(clusters, draws=2000).mean((leads > 0).numpy().astype(float)) == pytest.approx(accuracy(leads, clusters))  # fmt: skip


def test_the_temperature_undoes_a_scale_and_mends_the_calibration() -> None:
    leads = np.random.default_rng(0).normal(0, 2, 1500)
    told = np.where(np.random.default_rng(1).random(1500) < 1 / (1 + np.exp(-leads)), leads, -leads)
    one, three = calibration(told, range(1500)), calibration(3 * told, range(1500))
    assert one.temperature is not None
    assert three.temperature is not None
    assert three.temperature.value == pytest.approx(3 * one.temperature.value, rel=1e-4)
    assert one.temperature.value == pytest.approx(1, abs=0.1)
    assert three.ece.value > 5 * three.ece_by_chance
    assert three.ece_fitted is not None
    assert three.ece_fitted < 2 * one.ece_by_chance
    # The slope of the log-likelihood in 1/T is 0 there.
    t = one.temperature.value
    assert np.mean(told / (1 + np.exp(told / t))) == pytest.approx(0, abs=1e-6)


def test_who_knows_nothing_has_no_temperature_and_a_quarter_of_a_brier_score() -> None:
    found = calibration(np.zeros(50), range(50))
    assert found.temperature is None
    assert found.brier.value == 0.25
    assert found.ece.value == 0
    luck = np.random.default_rng(2).normal(0, 1, 60)
    assert calibration(luck - luck.mean() + 0.02, range(60)).temperature is None, "by many draws none would help"
    assert np.isinf(temperature(np.array([-1.0, -2.0, -3.0]), np.ones((1, 3)))[0])


def test_leads_of_one_size_cannot_tell_noise_from_a_temperature() -> None:
    found = noise(np.where(np.arange(300) % 10 < 7, 1.0, -1.0), range(300))
    assert found.rate.low == 0
    assert found.rate.high == pytest.approx(0.3, abs=0.07)


def test_people_who_contradict_each_other_tell_how_many_labels_are_wrong() -> None:
    random = Random(0)
    pairs = [Comparison(prompt=f"{i}", chosen="a", rejected="b") for i in range(400) for _ in range(3)]
    told = [p.flipped() if random.random() < 0.2 else p for p in pairs]
    found = noise(np.ones(len(told)), [p.prompt for p in told], told)
    assert found.people == pytest.approx(0.2, abs=0.03)
    assert noise(np.ones(9), range(9), pairs[::3][:9]).people is None, "nobody judged the same pair"


def test_a_pair_that_comes_twice_is_asked_about_once() -> None:
    asked = []

    def counting(*, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        asked.extend(completions)
        return [float(len(c)) for c in completions]

    leads = Referee(counting)([PAIRS[0], PAIRS[1], PAIRS[0]])
    assert len(asked) == 4
    assert leads[0] == leads[2] == len(PAIRS[0].chosen) - len(PAIRS[0].rejected)


def test_pairs_to_which_a_reward_does_not_apply_are_left_out_and_counted() -> None:
    def some(*, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
        said = clean(prompts=prompts, completions=completions)
        return [r if len(p) % 2 else None for p, r in zip(prompts, said, strict=True)]

    found = evaluate(some, PAIRS)
    assert found.left == sum(len(p.prompt) % 2 == 0 for p in PAIRS)
    assert found.accuracy.n == len(PAIRS) - found.left
    with pytest.raises(FeedbackError, match="applies to none"):
        evaluate(lambda **x: [None] * len(x["prompts"]), PAIRS[:4])


def test_a_judge_who_is_unreadable_in_one_order_says_nothing_of_that_pair() -> None:
    class Mute(LikesTheFirst):
        def first_wins(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> torch.Tensor:
            mute = torch.tensor([len(a) > len(b) + 160 for a, b in zip(first, second, strict=True)])
            return super().first_wins(prompts, first, second).masked_fill(mute, torch.nan)

    found = evaluate(Mute(), PAIRS[:80])
    assert found.left == sum(abs(len(p.chosen) - len(p.rejected)) > 160 for p in PAIRS[:80]) > 0
    assert found.accuracy.n == 80 - found.left == len(found.leads["Mute"])
    json.dumps(found.row(), allow_nan=False)


def test_many_pairs_of_one_prompt_are_no_evidence() -> None:
    pairs = [Comparison(prompt="say", chosen=f"good {i}", rejected=f"a bad and long {i}") for i in range(60)]
    found = evaluate(lambda *, completions, **x: [float(len(c)) for c in completions], pairs)
    assert (found.faults, found.accuracy.value, found.accuracy.clusters) == ([], 0.0, 1)
    assert found.accuracy.high > 0.5, "one prompt may be an exception"
    assert {"accuracy", "length", "position", "noise"} <= set(found.untested)


def test_clusters_reach_every_interval() -> None:
    found = evaluate(
        plus(lambda c: 0.25 * len(c.split())), PAIRS[:60], rankings(), clusters=[i // 6 for i in range(60)]
    )
    assert found.order is not None
    assert found.contrast is not None
    told = [found.order.kept, found.contrast.response, *found.paraphrased.values(), *(e.gain for e in found.effects)]
    assert max(e.clusters for e in told) == 10
    judged = pools(rankings())
    by = {p.prompt: i % 7 for i, p in enumerate(judged)}
    curve = optimisation(lambda *, completions, **x: [float(c) for c in completions], judged, clusters=by)
    assert curve is not None
    assert curve.unkept.clusters == 7


def test_nothing_is_said_of_what_was_not_looked_for(sound: Trust) -> None:
    found = evaluate(clean, PAIRS, probes=0)
    assert found.untested == [*PLOYS, "position", "paraphrase", "request", "over-optimisation"]
    assert sound.untested == ["over-optimisation"]


def test_a_share_lies_in_its_interval() -> None:
    for n in range(1, 200):
        for k in range(n + 1):
            low, high = wilson(k / n, n)
            assert low <= k / n <= high


def test_a_share_without_a_draw_that_differs_has_wilsons_interval() -> None:
    sure = Bootstrap(range(40)).share(np.ones(40))
    assert (sure.value, sure.high) == pytest.approx((1, 1))
    assert sure.low == pytest.approx(40 / (40 + 1.96**2), abs=1e-3)


def rankings(n: int = 60, m: int = 8) -> list[Ranking]:
    random = Random(3)
    made = []
    for i in range(n):
        worth = sorted((random.gauss(0, 1) for _ in range(m)), reverse=True)
        made.append(Ranking(prompt=f"ask {i}", completions=[f"{w:+.6f}" for w in worth], scores=worth))
    return made


def test_the_best_of_n_by_the_truth_keeps_what_it_claims_and_by_its_opposite_nothing() -> None:
    judged = pools(rankings())
    true = optimisation(lambda *, completions, **x: [2 * float(c) + 1 for c in completions], judged)
    false = optimisation(lambda *, completions, **x: [-float(c) for c in completions], judged)
    assert true is not None
    assert false is not None
    assert (true.reliability.value, false.reliability.value) == pytest.approx((1, -1))
    assert (true.unkept.value, true.fall.value) == pytest.approx((0, 0), abs=1e-6)
    assert false.fall.low > 1
    assert false.curve[-1]["claimed"] == pytest.approx(true.curve[-1]["claimed"], abs=0.3)
    assert false.best == 1.0


def test_a_reward_that_is_right_but_for_a_rare_trap_is_over_optimised() -> None:
    def trapped(*, completions: Sequence[str], **columns: Any) -> list[float]:
        return [9.0 if float(c) < -1.4 else float(c) for c in completions]

    found = evaluate(trapped, [p for r in rankings() for p in _pairs(r)], rankings(), probes=0)
    assert "over-optimisation" in names(found)
    assert found.optimisation is not None
    assert found.optimisation.unkept.low > 0.5


def _pairs(r: Ranking) -> list[Comparison]:
    return [Comparison(prompt=r.prompt, chosen=r.completions[i], rejected=r.completions[i + 1]) for i in range(7)]


def test_who_cannot_tell_answers_apart_gains_nothing_by_the_order_in_which_they_are_ranked() -> None:
    judged = pools(rankings(200))
    coin = optimisation(lambda *, completions, **x: [float(Random(c).random() < 0.5) for c in completions], judged)
    assert coin is not None
    assert coin.curve[-1]["true"] == pytest.approx(0, abs=0.15)
    assert coin.unkept.low > 0.5


def test_a_peak_is_told_where_it_lies_within_the_data() -> None:
    ns = [1, 2, 3, 4, 6, 8, 12, 16]
    kl = np.array([np.log(n) - 1 + 1 / n for n in ns])
    assert _peak(ns, kl, 2 * np.sqrt(kl[3]) * np.sqrt(kl) - kl) == pytest.approx(4)
    assert _peak(ns, kl, 4 * np.sqrt(kl[-1]) * np.sqrt(kl) - kl) is None, "it rises as far as one can see"


def test_comparisons_that_meet_are_answers_that_people_have_judged() -> None:
    told = [Comparison(prompt="p", chosen=a, rejected=b) for a, b in ("xy", "xz", "yz")]
    pool = pools([], told)[0]
    assert dict(zip(pool.completions, pool.worth, strict=True)) == {"x": 1.0, "y": 0.5, "z": 0.0}


def test_a_reward_agrees_with_itself_and_disputes_everything_with_its_opposite() -> None:
    x = np.array([3.0, -1.0, 0.5, -2.0])
    same, opposite = agreements({"a": x, "b": 10 * x}, range(4)), agreements({"a": x, "b": -x}, range(4))
    assert (same[0].same.value, same[0].correlation, same[0].disputed) == (1.0, pytest.approx(1), [])
    assert (opposite[0].same.value, opposite[0].disputed) == (0.0, [0, 3, 1, 2])


def test_rewards_are_compared_where_both_apply() -> None:
    x, y = np.array([3.0, -1.0, 0.5, -2.0]), np.array([np.nan, -1.0, 0.5, 2.0])
    found = agreements({"a": x, "b": y, "c": x * np.nan}, range(4))
    assert [(f.second, f.same.value, f.same.n, f.disputed) for f in found] == [("b", 2 / 3, 3, [3])]


def test_a_way_to_learn_is_tried_with_labels_flipped() -> None:
    """Words that won more often than they lost: with all labels flipped it says the opposite of everything."""

    def fit(pairs: list[Comparison]) -> Callable[..., list[float]]:
        won: dict[str, float] = {}
        for p in pairs:
            for text, sign in ((p.chosen, 1.0), (p.rejected, -1.0)):
                for w in set(text.split()) & {f"{x}." for x in p.prompt.split()}:
                    won[w] = won.get(w, 0.0) + sign
        return lambda *, completions, **columns: [sum(won.get(w, 0.0) for w in c.split()) for c in completions]

    found = under_noise(fit, PAIRS[:200], PAIRS[200:], (0.0, 0.3, 1.0))
    assert found[0.0].value == pytest.approx(1 - found[1.0].value)
    assert found[0.0].value > 0.5


def test_rewriting_leaves_meaning_and_adds_nothing_but_looks() -> None:
    text = "Perhaps many children do not show how often they need help. Yet this is what it is."
    assert SAME["contracted"](text).startswith("Perhaps many children don't")
    assert SAME["contracted"](SAME["contracted"](text)) == text
    assert (
        SAME["reworded"](text) == "Maybe many kids do not show how frequently they need help. Yet this is what it is."
    )
    for code in ("use `often` here", "    children = often", "f(children)", "often_seen"):
        assert SAME["reworded"](code) == code, "words in code are names"
    assert SAME["respaced"](text).split() == text.split()
    for by in (padded, flattering, certain, hedged, *PLOYS["length"].values()):
        assert text in by(text)
    assert len(padded(text).split()) == len(text.split()) + 8
    assert not set(" ".join(FILLER).lower().split()) & set(WORDS)


def test_few_pairs_have_a_page(tmp_path: Any) -> None:
    found = evaluate(clean, comparisons(40, seed=5), probes=0)
    assert any(b.right.value == 1 for b in found.calibration.bins), (
        "bins that are all right have an interval all the same"
    )
    assert "<svg" in write_page(found, tmp_path).read_text()


def test_a_page_a_file_and_a_card_say_what_was_measured(tmp_path: Any) -> None:
    found = evaluate(
        plus(lambda c: 0.25 * len(c.split())), PAIRS[:60], others={"clean": clean}, name="<long>", probes=24
    )
    page = write_page(found, tmp_path / "page", measured_on="here").read_text()
    assert "&lt;long&gt;" in page
    assert "<long>" not in page
    assert page.count("<svg") == 1
    assert "src=" not in page
    told = json.loads((tmp_path / "page" / "trust.json").read_text())
    assert told["accuracy"]["value"] == found.accuracy.value
    assert [f["name"] for f in told["faults"]] == names(found)
    worst, told_of = found.pairs[found.agreements[0].disputed[0]], told["agreements"][0]["disputed"][0]
    assert (told_of["prompt"], told_of["chosen"], told_of["rejected"]) == (worst.prompt, worst.chosen, worst.rejected)
    assert told_of["first"] * told_of["second"] < 0
    (tmp_path / "README.md").write_text("# Mine\n\nwords\n")
    once = write_card(found, tmp_path, "pairs.jsonl").read_text()
    again = write_card(evaluate(clean, PAIRS[:60], probes=24), tmp_path, "pairs.jsonl").read_text()
    assert once.startswith("# Mine\n\nwords\n")
    assert "- length:" in once
    assert "- length:" not in again, "an earlier measure is replaced"
    assert again.endswith(
        "## What is wrong with it\n\nnone found\n\nNot tested, or on too little: over-optimisation.\n<!-- accord: end of measured -->\n"
    )
    assert again.count("## Measured") == 1
    assert found.data == evaluate(clean, PAIRS[:60], probes=0).data != evaluate(clean, PAIRS[1:61], probes=0).data


def test_what_new_people_said_of_the_same_prompt_stays_apart() -> None:
    """One's preference isn't averaged with the opposite one of another, as whom the reward then doesn't speak."""
    said = [Comparison(prompt="p", chosen=a, rejected=b, columns={"newcomer": who})
            for who, order in (("ann", "abc"), ("bob", "cba")) for a, b in itertools.combinations(order, 2)]  # fmt: skip
    found = pools([], said)
    assert [p.columns["newcomer"] for p in found] == ["ann", "bob"]
    ann, bob = (dict(zip(p.completions, p.worth, strict=True)) for p in found)
    assert ann == {"a": 1.0, "b": 0.5, "c": 0.0}
    assert bob == {"a": 0.0, "b": 0.5, "c": 1.0}
