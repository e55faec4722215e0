"""What lies beyond a model: longer texts, other tokenisers' tokens, classes that look ahead, heads that aren't there."""

import logging
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from accord import fit
from accord.algorithms import DPO, Supervised
from accord.errors import FeedbackError, ModelError
from accord.feedback import Comparison, Example
from accord.policies import LanguagePolicy, Sampling
from accord.policies.base import Group
from accord.policies.tokenise import Tokeniser
from accord.rewards import BradleyTerry
from accord.worlds import letters
from conftest import SMALL, tiny_config, tiny_policy

ASK = "what is 2 plus 3 ?"


def policy_of(config: Any, **more: Any) -> LanguagePolicy:
    torch.manual_seed(0)
    for name, value in more.items():
        setattr(config, name, value)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for p in model.parameters():
        p.data.mul_(5 if p.ndim > 1 else 1)  # as small as it begins, attention would hardly matter
    return LanguagePolicy(model, Tokeniser(letters.build_tokenizer(), "tiny"), "tiny")


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_text_beyond_the_context_is_refused_with_its_record_and_lengths(architecture: str) -> None:
    policy = policy_of(tiny_config(architecture), max_position_embeddings=32)
    pairs = [
        Comparison(prompt=ASK, chosen="5 .", rejected="4 ."),
        Comparison(prompt=ASK, chosen="5 " * 40, rejected="4 ."),
    ]
    with pytest.raises(FeedbackError, match=r"record 2 of 2: .* longer than the 32 tokens that tiny takes"):
        fit(DPO(policy), pairs, steps=1, batch_size=1, progress=False)
    with pytest.raises(FeedbackError, match="longer than the 32 tokens"):
        policy.sample([ASK * 20])


def test_an_answer_that_reaches_the_end_of_the_context_is_cut_there_alone() -> None:
    short, long = ASK, " ".join([ASK] * 3)
    free = policy_of(tiny_config("gpt2"))
    room = len(free.tokeniser.prompt(long)) + 2
    tight = policy_of(tiny_config("gpt2"), max_position_embeddings=256)
    tight.config.max_position_embeddings = room
    wanted = free.sample([long, short], 2, Sampling(max_new_tokens=8), seed=3)
    found = tight.sample([long, short], 2, Sampling(max_new_tokens=8), seed=3)
    for a, b, prompt in zip(
        found.actions.completion_ids, wanted.actions.completion_ids, found.actions.prompt_ids, strict=True
    ):
        assert a == b[: room - len(prompt)]
    assert not found.finished[:2].any()


def test_a_tokeniser_that_knows_more_tokens_than_the_model_is_named() -> None:
    policy = policy_of(tiny_config("llama"))
    policy.tokeniser.inner.add_tokens([f"more{i}" for i in range(200)])
    assert policy.likelihood([Group(ASK, ("5 .",))])
    with pytest.raises(ModelError, match="knows only 400"):
        policy.likelihood([Group("more199", ("5 .",))])


def test_an_answer_that_holds_the_end_token_is_ended_once_or_refused() -> None:
    t = Tokeniser(letters.build_tokenizer(), "tiny")
    end = t.inner.eos_token
    assert t.completion(ASK, f"5 .{end}") == t.completion(ASK, "5 .")
    with pytest.raises(FeedbackError, match="in its midst"):
        t.completion(ASK, f"5 {end} .")


def test_a_class_that_looks_ahead_is_no_language_model() -> None:
    bert = transformers.BertConfig(**{k: v for k, v in SMALL.items() if k != "num_key_value_heads"})
    with pytest.raises(ModelError, match="sees what comes after"):
        policy_of(bert)
    assert policy_of(bert, is_decoder=True).head is None


@pytest.mark.parametrize(("kind", "scale"), [("Cohere", {"logit_scale": 0.25}), ("Granite", {"logits_scaling": 4.0})])
def test_a_scaled_head_is_measured_and_its_gradient_right(kind: str, scale: dict[str, float]) -> None:
    policy = policy_of(getattr(transformers, f"{kind}Config")(**SMALL, **scale)).double()
    assert policy.head is not None
    assert policy.head.scale == 0.25
    group = [Group(ASK, ("the answer is 5 .",))]
    weights = list(policy.parameters())
    fast = torch.autograd.grad(policy.likelihood(group).policy.sum(), weights)
    policy.head = None
    own = torch.autograd.grad(policy.likelihood(group).policy.sum(), weights)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(fast, own, strict=True))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny_policy().save(tmp_path / "base")
    return tmp_path / "base"


def test_a_language_model_gives_no_scores_before_its_head_is_trained(base: Path) -> None:
    reward = BradleyTerry.load(base)
    with pytest.raises(ModelError, match="without a trained reward head"):
        reward(prompts=[ASK], completions=["5"])
    pairs = [Comparison(prompt=ASK, chosen="5 .", rejected="4 .")] * 4
    trained = BradleyTerry.fit(pairs, reward, lr=0.01, batch_size=4, progress=False)
    said = trained(prompts=[ASK] * 2, completions=["5 .", "4 ."]).values
    assert said[0] > said[1]


def test_a_supervised_adapter_becomes_a_reward_with_what_it_learned(base: Path, tmp_path: Path) -> None:
    policy = LanguagePolicy.load(base, lora=4)
    fit(Supervised(policy), [Example(prompt="a", completion="yes")] * 2, steps=2, lr=0.05, batch_size=2, progress=False)
    policy.save(tmp_path / "tuned")
    tree = policy.tree([Group(ASK, ("5 .",))])
    with torch.no_grad():
        ours = BradleyTerry.load(tmp_path / "tuned").hidden(tree)
        assert torch.allclose(ours, policy.hidden(tree), atol=1e-4)


def test_a_broken_adapter_is_one_line(base: Path, tmp_path: Path) -> None:
    LanguagePolicy.load(base, lora=2).save(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="doesn't fit its model"):
        LanguagePolicy.load(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="names no base model"):
        LanguagePolicy.load(tmp_path / "adapter")


def classifier(config: Any, folder: Path, tokenizer: Any) -> Path:
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    for p in model.parameters():
        p.data.mul_(5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pad", [None, 2])
def test_a_model_that_pads_with_its_end_token_or_not_at_all_scores_as_in_transformers(
    pad: int | None, tmp_path: Path
) -> None:
    config = tiny_config("gpt2")
    config.num_labels, config.pad_token_id = 1, pad
    inner = letters.build_tokenizer()
    inner.pad_token = inner.eos_token
    assert inner.eos_token_id == 2
    reward = BradleyTerry.load(classifier(config, tmp_path, inner))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    answers = ["5 .", "the answer is 5 ."]
    ours = reward(prompts=[ASK] * 2, completions=answers, group=[0, 0]).values
    for answer, value in zip(answers, ours, strict=True):
        ids = torch.tensor([inner(ASK)["input_ids"] + inner(answer, add_special_tokens=False)["input_ids"] + [2]])
        with torch.no_grad():
            assert float(model(input_ids=ids).logits) == pytest.approx(float(value), abs=1e-4)


def test_a_token_to_pad_with_is_made_where_a_tokeniser_has_none(tmp_path: Path) -> None:
    inner = letters.build_tokenizer()
    for name in ("pad_token", "bos_token", "unk_token"):
        setattr(inner, name, None)
    inner._special_tokens_map.clear()
    inner.eos_token = "</s>"
    model = transformers.AutoModelForCausalLM.from_config(tiny_config("gpt2"))
    model.save_pretrained(tmp_path)
    inner.save_pretrained(tmp_path)
    reward = BradleyTerry.load(tmp_path)
    assert reward.config.pad_token_id == reward.tokeniser.pad != reward.tokeniser.eos


def test_an_encoder_says_how_many_texts_it_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inner = letters.build_tokenizer()
    inner.cls_token, inner.sep_token, inner.model_max_length = inner.bos_token, inner.eos_token, 32
    config = transformers.BertConfig(**{k: v for k, v in SMALL.items() if k != "num_key_value_heads"}, num_labels=1)
    reward = BradleyTerry.load(classifier(config, tmp_path, inner))
    with caplog.at_level(logging.WARNING, logger="accord"):
        reward(prompts=[ASK] * 3, completions=["5 .", "5 " * 50, "4 " * 60])
    assert "2 of 3 texts are longer than its 32 tokens and were cut" in caplog.text


def test_a_reward_adapter_scores_with_the_head_that_was_trained(base: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=2, task_type="SEQ_CLS", target_modules="all-linear")).eval()
    for p in tuned.parameters():
        if p.requires_grad:
            p.data.normal_(0, 0.3)
    tuned.save_pretrained(tmp_path / "reward")
    reward = BradleyTerry.load(tmp_path / "reward")
    prompt, (answer,) = reward.ids(Group(ASK, ("5 .",)))
    with torch.no_grad():
        theirs = tuned(input_ids=torch.tensor([[*prompt, *answer]])).logits[0]
        assert torch.allclose(reward.values_of([Group(ASK, ("5 .",))])[0], theirs, atol=1e-4)
    with pytest.raises(ModelError, match="2 outputs, but 1 aspects"):
        BradleyTerry.load(tmp_path / "reward", aspects=["help"])


@pytest.mark.parametrize(
    ("config", "takes"),
    [
        (
            transformers.RobertaConfig(**{**SMALL, "max_position_embeddings": 66, "pad_token_id": 1}, is_decoder=True),
            64,
        ),
        (transformers.MptConfig(d_model=32, n_heads=4, n_layers=2, vocab_size=400, max_seq_len=48), 48),
        (transformers.OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=32), 256),
    ],
    ids=["roberta", "mpt", "opt"],
)
def test_the_context_is_what_the_class_can_compute(config: Any, takes: int) -> None:
    policy = policy_of(config)
    assert policy.context == takes
    words = "a " * takes
    with pytest.raises(FeedbackError, match=f"longer than the {takes} tokens"):
        policy.sample([words])
    fits = policy.tokeniser.prompt(words)[: takes - 1]
    drawn = policy.sample([policy.tokeniser.decode(fits)], 1, Sampling(max_new_tokens=4))
    assert drawn.length.tolist() == [1]
    assert torch.allclose(policy.logprobs(drawn).detach(), drawn.logprobs, atol=1e-3)


def test_a_reward_whose_class_can_not_compute_is_refused_when_it_is_made() -> None:
    config = tiny_config("llama")
    config.num_labels = 1
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    del model.model.layers[0].mlp.down_proj
    with pytest.raises(ModelError, match="can't score a text"):
        BradleyTerry(model, Tokeniser(letters.build_tokenizer(), "tiny"))
