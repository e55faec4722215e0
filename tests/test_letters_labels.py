"""The bench of reproductions on noisy labels: it ranks by the gold, and knows who was right."""

import pytest
import torch

from accord.reproduce.letters_labels import OF, asked, held_out, ranked, right, turned
from accord.reproduce.letters_rewards import concordance
from accord.worlds.letters import gold, parse_request, population, read_reply


def test_the_gold_itself_ranks_all_rightly_its_opposite_none_and_one_value_half() -> None:
    true = held_out(1900)[1]
    assert concordance(true, true) == 1
    assert concordance(-true, true) == 0
    assert concordance(torch.zeros_like(true), true) == 0.5
    assert concordance(true.exp() * 3, true) == 1
    found = ranked(gold, 1900)
    assert found["accuracy"] == 1
    assert found["gold"] == pytest.approx(float(true.max(1).values.mean()))


def test_replies_are_such_as_the_base_writes_and_of_mixed_quality() -> None:
    replies, true = held_out(1900)
    assert all(read_reply(c).parsed for c in replies.completions)
    assert len({parse_request(p).kind for p in replies.prompts}) == 5
    assert true.shape[1] == OF
    assert 0.4 < float(true.mean()) < 0.6, "the base's own are at 0.5"


def test_sure_people_are_right_and_a_share_that_is_turned_round_is_wrong() -> None:
    sure = population(1, seed=1, certainty=1e4, spread=0.0).compare(*asked(1900, 200).shown(), seed=1)
    said = right(sure)
    assert bool((said >= 0.5).all())
    different = said != 0.5
    wrong = right(turned(sure, 0.3, seed=2))[different] == 0
    assert float(wrong.float().mean()) == pytest.approx(0.3, abs=0.1)
