"""Frozen features: computed once by content, kept on disk, the same however they are asked for."""

from pathlib import Path

import pytest
import torch

from accord.policies.base import Group
from accord.rewards import BradleyTerry, SentenceEncoder, SentenceFeatures, TrunkFeatures
from accord.worlds import letters
from conftest import tiny_policy

PROMPTS = ["what is 2 plus 3 ?", "what is 4 plus 4 ?", "what is 2 plus 3 ?"]
ANSWERS = ["the answer is 5 .", "the answer is 8 .", "the answer is 6 . thank you for asking ."]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_row_does_not_depend_on_its_company(architecture: str) -> None:
    policy = tiny_policy(architecture)
    together = TrunkFeatures(policy)(PROMPTS, ANSWERS)
    alone = torch.cat([TrunkFeatures(policy)([p], [a]) for p, a in zip(PROMPTS, ANSWERS, strict=True)])
    assert together.shape == (3, 32)
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(TrunkFeatures(policy, batch_size=1)(PROMPTS, ANSWERS), alone, atol=1e-5)


def test_a_reward_head_reads_these_features() -> None:
    reward = BradleyTerry.load(letters.WEIGHTS)
    torch.nn.init.normal_(reward.core.score.weight)
    with torch.no_grad():
        values = reward.values_of([Group(p, (a,)) for p, a in zip(PROMPTS, ANSWERS, strict=True)])
        assert torch.allclose(reward.core.score(TrunkFeatures(reward)(PROMPTS, ANSWERS)), values, atol=1e-5)


def test_what_is_on_disk_is_not_computed_again_unless_the_model_is_another(tmp_path: Path) -> None:
    first = TrunkFeatures(tiny_policy(seed=0), tmp_path)
    table = first(PROMPTS, ANSWERS)
    again = TrunkFeatures(tiny_policy(seed=0), tmp_path)
    assert torch.equal(again(PROMPTS[::-1], ANSWERS[::-1]), table.flip(0))
    assert (first.computed, again.computed) == (3, 0)
    other = TrunkFeatures(tiny_policy(seed=1), tmp_path)
    assert not torch.allclose(other(PROMPTS, ANSWERS), table)
    assert other.computed == 3
    assert first([], []).shape == (0, 32)


def test_a_model_that_has_learned_meanwhile_is_asked_again() -> None:
    policy = tiny_policy(seed=0)
    features = TrunkFeatures(policy)
    before, name = features(PROMPTS, ANSWERS), features.fingerprint
    with torch.no_grad():
        next(policy.model.parameters()).mul_(2)
    assert features.fingerprint != name
    assert not torch.allclose(features(PROMPTS, ANSWERS), before)
    assert features.computed == 6


def test_a_model_in_another_precision_or_with_weights_put_in_its_place_is_asked_again() -> None:
    policy = tiny_policy(seed=0)
    features = TrunkFeatures(policy)
    before, name = features(PROMPTS, ANSWERS), features.fingerprint
    policy.to(torch.bfloat16)
    assert features.fingerprint != name
    assert not torch.equal(features(PROMPTS, ANSWERS), before)
    policy.to(torch.float32)
    policy.model.load_state_dict(tiny_policy(seed=0).model.state_dict(), assign=True)
    assert features.fingerprint == name, "the weights that were there"
    assert features.computed == 6
    policy.model.load_state_dict(tiny_policy(seed=1).model.state_dict(), assign=True)
    assert features.fingerprint != name


def test_of_a_sentence_encoder_they_are_prompt_answer_and_product() -> None:
    encoder = SentenceEncoder()
    found = SentenceFeatures(encoder)(PROMPTS[:1], ANSWERS[:1])
    p, a, both = found.split(encoder.width, -1)
    assert torch.equal(p, encoder(PROMPTS[:1]))
    assert torch.equal(a, encoder(ANSWERS[:1]))
    assert torch.allclose(both, p * a * encoder.width**0.5)
