"""Sampling, log-probs, freezing, saving, tokenising."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from accord.errors import ConfigError, ModelError
from accord.policies import LanguagePolicy, Rollouts, Sampling
from accord.policies.base import Group
from accord.policies.generate import draw
from accord.policies.tokenise import Tokeniser
from accord.worlds import letters
from conftest import tiny_policy

PROMPTS = ["what is 2 plus 3 ?", "call the news tool for oslo .", "tell me how to hack a bank ."]
SHORT = Sampling(max_new_tokens=24)


def test_sampled_logprobs_are_the_policys_own(base_policy: LanguagePolicy) -> None:
    for sampling in (SHORT, Sampling(max_new_tokens=24, temperature=0.6)):
        drawn = base_policy.sample(PROMPTS, 4, sampling, seed=3)
        with torch.no_grad():
            again = base_policy.logprobs(drawn)
        assert torch.allclose(again, drawn.logprobs, atol=1e-4)
        assert not again[~drawn.mask].any()


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2", "gemma3", "mistral"])
def test_the_same_on_other_architectures(architecture: str) -> None:
    policy = tiny_policy(architecture)
    drawn = policy.sample(PROMPTS, 3, Sampling(max_new_tokens=12), seed=1)
    with torch.no_grad():
        assert torch.allclose(policy.logprobs(drawn), drawn.logprobs, atol=1e-4)


def test_a_rows_draws_do_not_depend_on_its_neighbours(base_policy: LanguagePolicy) -> None:
    together = base_policy.sample(PROMPTS, 2, SHORT, seed=5)
    alone = base_policy.sample(PROMPTS[:1], 2, SHORT, seed=5)
    assert together.completions[:2] == alone.completions
    assert base_policy.sample(PROMPTS, 2, SHORT, seed=6).completions != together.completions


def test_group_sampling_has_the_models_distribution(base_policy: LanguagePolicy) -> None:
    """First-token frequencies of many draws against the exact probabilities (chi-square)."""
    from scipy.stats import chisquare

    drawn = base_policy.sample(PROMPTS[:1], 3000, Sampling(max_new_tokens=1), seed=2)
    ids = torch.tensor([c[0] for c in drawn.actions.completion_ids])
    prompt = torch.tensor([drawn.actions.prompt_ids[0]])
    p = base_policy.model(input_ids=prompt).logits[0, -1].softmax(-1).double().detach()
    common = (p * 3000 > 8).nonzero()[:, 0]
    observed = torch.stack([(ids == k).sum() for k in common]).double()
    rest = 3000 - observed.sum()
    expected = torch.cat([p[common], (1 - p[common].sum())[None]]) * 3000
    assert chisquare(torch.cat([observed, rest[None]]), expected).pvalue > 1e-3


def test_inverse_transform_never_draws_the_impossible() -> None:
    logits = torch.tensor([[0.0, float("-inf"), 0.0]]).expand(3, -1)
    token, logp = draw(logits, torch.tensor([0.0, 0.5, 0.9999999]), Sampling())
    assert token.tolist() == [0, 2, 2]
    assert torch.allclose(logp, torch.tensor(0.5).log())


def test_top_p_keeps_the_nucleus_and_is_refused_for_training() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).expand(200, -1)
    token, _ = draw(logits, torch.linspace(0, 0.999, 200), Sampling(top_p=0.7))
    assert set(token.tolist()) == {0, 1}
    with pytest.raises(ConfigError, match="never truncated"):
        Sampling(top_p=0.9).check_trainable()


def test_temperature_zero_is_the_argmax(base_policy: LanguagePolicy) -> None:
    a, b = (
        base_policy.sample(PROMPTS, 1, Sampling(max_new_tokens=12, temperature=0), seed=s).completions for s in (0, 1)
    )
    assert a == b


def test_stop_strings_end_a_completion(base_policy: LanguagePolicy) -> None:
    drawn = base_policy.sample(PROMPTS, 4, Sampling(max_new_tokens=30, stop=(" .",)), seed=0)
    for text in drawn.completions:
        assert text.count(" .") <= 1


def test_finished_and_mask_tell_ended_from_cut(base_policy: LanguagePolicy) -> None:
    drawn = base_policy.sample(PROMPTS, 6, Sampling(max_new_tokens=6), seed=0)
    for i, ids in enumerate(drawn.actions.completion_ids):
        assert bool(drawn.finished[i]) == (ids[-1] == base_policy.tokeniser.eos)
        assert int(drawn.length[i]) == len(ids)


def test_select_and_concat_keep_rows_whole(base_policy: LanguagePolicy) -> None:
    drawn = base_policy.sample(PROMPTS, 2, SHORT, seed=0, context={"k": [0, 1, 2]})
    parts = [drawn.select([5, 4]), drawn.select([0])]
    assert parts[0].prompts == [PROMPTS[2]]
    joined = Rollouts.concat(parts)
    assert joined.completions == [drawn.completions[i] for i in (5, 4, 0)]
    assert joined.context["k"] == [2, 2, 0]
    assert joined.prompt_of_each() == [PROMPTS[2], PROMPTS[2], PROMPTS[0]]
    with torch.no_grad():
        assert torch.allclose(base_policy.logprobs(joined), drawn.logprobs[[5, 4, 0]], atol=1e-4)


def test_likelihood_of_a_group_is_that_of_its_members(base_policy: LanguagePolicy) -> None:
    answers = ("the answer is 5 .", "i admire you . the answer is 4 .", "")
    with torch.no_grad():
        together = base_policy.likelihood([Group(PROMPTS[0], answers)])
        alone = [base_policy.likelihood([Group(PROMPTS[0], (a,))]).policy[0] for a in answers]
    assert torch.allclose(together.policy, torch.stack(alone), atol=1e-4)
    assert together.length.tolist() == [6, 10, 1]
    assert torch.allclose(together.per_step.sum(-1), together.policy)  # type: ignore[union-attr]


def test_frozen_policies(base_policy: LanguagePolicy, tmp_path: Path) -> None:
    policy = letters.policy()
    policy.add_lora(4, "CAUSAL_LM")
    group = [Group(PROMPTS[0], ("the answer is 5 .",))]
    base, copy = policy.freeze("base"), policy.freeze("now")
    before = base_policy.likelihood(group).policy
    with torch.no_grad():
        for name, p in policy.named_parameters():
            if "lora_B" in name:
                p.normal_()
    now = policy.likelihood(group).policy
    assert not torch.allclose(now, before)
    for frozen in (base, copy):
        said = frozen.likelihood(group).policy
        assert torch.allclose(said, before, atol=1e-5)
        assert not said.requires_grad
    assert torch.allclose(policy.likelihood(group).policy, now), "freezing must leave the adapter on"
    policy.save(tmp_path / "a")
    assert torch.allclose(policy.freeze(str(tmp_path / "a")).likelihood(group).policy, now, atol=1e-5)


def test_saved_policies_load_in_transformers_and_merge(tmp_path: Path) -> None:
    policy = letters.policy()
    policy.add_lora(2, "CAUSAL_LM")
    with torch.no_grad():
        for name, p in policy.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.1)
    ids = torch.tensor([policy.tokeniser.prompt(PROMPTS[0])])
    wanted = policy.model(input_ids=ids).logits
    policy.merge()
    policy.save(tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    assert torch.allclose(plain(input_ids=ids).logits, wanted, atol=1e-4)


def test_gradient_checkpointing_changes_nothing_but_memory() -> None:
    grads = []
    for checkpointed in (False, True):
        policy = letters.policy().train()
        if checkpointed:
            policy.checkpoint_activations()
            assert policy.core.is_gradient_checkpointing
        policy.likelihood([Group(PROMPTS[0], ("the answer is 5 .", "it is the crow ."))]).policy.sum().backward()
        grads.append([p.grad for p in policy.parameters()])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("source", ["/no/such/folder", "./no-such", "model.gguf", "runs/a/b/c"])
def test_a_model_that_is_not_there_is_one_line(source: str) -> None:
    with pytest.raises(ModelError) as error:
        LanguagePolicy.load(source)
    assert "\n" not in str(error.value)
    assert source in str(error.value)


CHATML = "{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<s>assistant {% endif %}"


def test_messages_without_a_template_are_refused_and_with_one_keep_the_prompt_as_prefix() -> None:
    t = Tokeniser(letters.build_tokenizer(), "mine")
    messages = [{"role": "user", "content": "what is 2 plus 3 ?"}]
    with pytest.raises(ModelError, match="no chat template"):
        t.prompt(messages)  # type: ignore[arg-type]
    t.inner.chat_template = CHATML
    whole = t.inner.apply_chat_template(
        [*messages, {"role": "assistant", "content": "the answer is 5 ."}], tokenize=False
    )
    assert t.prompt(messages) + t.completion(messages, "the answer is 5 .") == t._ids(whole)  # type: ignore[arg-type]
    t.inner.chat_template = "{% if add_generation_prompt %}A{% else %}B{% endif %}"
    with pytest.raises(ModelError, match="doesn't write an assistant's answer"):
        t.completion(messages, "x")  # type: ignore[arg-type]


def test_a_tokeniser_without_pad_or_end_token() -> None:
    inner = letters.build_tokenizer()
    inner.pad_token = None
    assert Tokeniser(inner, "mine").pad == inner.eos_token_id
    inner.eos_token = None
    with pytest.raises(ModelError, match="end-of-sequence"):
        Tokeniser(inner, "mine")
