"""docs/reward_systems.py: nothing that a reward is tested on was learned from."""

import importlib.util
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from accord.feedback import Comparison, as_conversation
from accord.rewards.tree_structured_reward import Leaf


@pytest.fixture(scope="module")
def script() -> Any:
    path = Path(__file__).parents[1] / "docs" / "reward_systems.py"
    spec = importlib.util.spec_from_file_location("reward_systems", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def pairs(n: int, prompts: int) -> list[Comparison]:
    return [Comparison(prompt=f"q{i % prompts}", chosen=f"a{i}", rejected="no", columns={"debate": i % 8}) for i in range(n)]  # fmt: skip


def prompts_of(part: list[Comparison]) -> set[str]:
    return {str(p.prompt) for p in part}


def test_of_experts_no_question_is_both_learned_from_and_held_out(script: Any) -> None:
    kinds = [{"error type": kind} for kind in script.MISTAKES.values()]
    rows = [{"question": f"q{i}", "preference": [1, 2, 1, 0, 1, 2], "feedback": {"errors": kinds, "corrected-prediction": "better"},
             **{f"prediction {j}": f"answer {j}" for j in range(1, 5)}} for i in range(20)]  # fmt: skip
    first, rest, held, judged = script.experts_data(rows)
    asked = [prompts_of(part) for part in (first, rest, held)]
    assert [len(a) for a in asked] == [8, 8, 4], "each lends to one part, and together they are all"
    assert len(set.union(*asked)) == 20
    assert all(not asked[2] & prompts_of(some) and len(some) == 16 for some in judged.values())


def test_of_pairs_beside_a_reference_no_prompt_is_both_learned_from_and_held_out(script: Any) -> None:
    lengthy = Comparison(prompt="q" * 600, chosen="a", rejected="b")
    learned, held = script.reference_data([lengthy, *pairs(60, prompts=20)], 15)
    assert (len(learned), len(held)) == (15, 15)
    assert not prompts_of(learned) & prompts_of(held)
    assert lengthy not in learned


def test_what_heeds_is_tested_on_posts_that_it_never_read(script: Any) -> None:
    learned = script.unseen(pairs(60, prompts=20), pairs(5, prompts=5))
    assert prompts_of(learned) == {f"q{i}" for i in range(5, 20)}


def test_of_a_recipes_parts_each_has_debates_of_its_own(script: Any) -> None:
    parts = script.recipe_data(pairs(80, prompts=80), 15)
    assert [len(p) for p in parts] == [15] * 4
    debates = [{p.columns["debate"] for p in part} for part in parts]
    assert all(not one & other for one, other in combinations(debates, 2))


def test_a_trees_prompts_are_new_to_the_judge_and_those_held_out_to_the_learner(script: Any) -> None:
    scored, asked, held = script.tree_data([as_conversation(p) for p in pairs(400, prompts=200)], 120)
    assert (len(scored), len(asked), len(held)) == (120, 2, 2)
    asked, held = ({str(p) for p in some} for some in (asked, held))
    assert not asked & held
    assert not (asked | held) & prompts_of(scored)


def test_leaves_are_compared_as_the_judge_says_and_ties_left_out(script: Any) -> None:
    def longer(*, completions: Any, **columns: Any) -> list[float]:
        return [float(len(c)) for c in completions]

    leaves = [Leaf(text, (), (i,), (0,)) for i, text in enumerate(["a", "bb", "cc", "dddd"])]
    made = script.compared_leaves(longer, ["p", "one"], [leaves, leaves[:1]])
    assert len(made) == 5, "of six pairs one is tied; a single answer is compared with none"
    assert all(p.prompt == "p" and len(p.chosen) > len(p.rejected) for p in made)


def test_what_steers_is_clear_and_what_is_curated_is_one_workers_word_with_the_others_beside_it(script: Any) -> None:
    votes = {
        "clear": ["chosen"] * 5,
        "wrong": ["rejected", "chosen", "chosen", "equal", "chosen"],
        "none": ["equal"] + ["chosen"] * 4,
    }
    rows = [{"prompt": f"d{k % 8}", "debate": k % 8, "chosen": f"{name} {k}", "rejected": f"other {k}", "votes": [[i, v] for i, v in enumerate(said)]}
            for k in range(80) for name, said in votes.items()]  # fmt: skip
    checked, silver, pool, tests = script.steer_data(rows, 50)
    assert all(p.chosen.startswith("clear") and p.columns["others"] == 4 for p in checked)
    assert all(p.rejected.startswith("wrong") and p.columns["others"] == -3 for p in (*silver, *pool)), (
        "as the first said"
    )
    assert (len(checked), len(silver), len(pool), len(tests)) == (5, 10, 40, 50)
    assert Counter(p.columns["debate"] for p in tests).keys() == {0, 4}
    assert not {0, 4} & {p.columns["debate"] for p in (*checked, *silver, *pool)}
