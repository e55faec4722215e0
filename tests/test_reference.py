"""What a policy is compared with: itself as it began, by the same tokens, without dropout; and how adapters lie over adapters."""

import math
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from torch import Tensor

from accord import fit
from accord.algorithms import DPO, GRPO, KTO, Supervised
from accord.engine import Rows, Step
from accord.errors import ModelError
from accord.feedback import Comparison, Example, Label
from accord.policies import LanguagePolicy, Sampling
from accord.policies.base import Group
from accord.policies.tokenise import Tokeniser
from accord.worlds import letters
from conftest import tiny_config, tiny_policy

PAIRS = [
    Comparison(prompt="what is 2 plus 3 ?", chosen="the answer is 5 .", rejected=f"it is {i} .") for i in (1, 2, 3, 4)
]
GROUPS = [Group(p.prompt, (p.chosen, p.rejected)) for p in PAIRS]
CHATML = "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny_policy().save(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def tuned(base: Path, tmp_path: Path) -> Path:
    """A supervised adapter that has moved far from its base."""
    policy = LanguagePolicy.load(base, lora=4)
    fit(
        Supervised(policy),
        [Example(prompt="a", completion="the answer is yes")] * 4,
        steps=3,
        lr=0.05,
        batch_size=4,
        progress=False,
    )
    policy.save(tmp_path / "tuned")
    return tmp_path / "tuned"


def likelihoods(policy: Any) -> Tensor:
    with torch.no_grad():
        return policy.likelihood(GROUPS).policy


def test_from_a_supervised_adapter_the_reference_is_that_adapter_and_stays_it(tuned: Path, base: Path) -> None:
    policy = LanguagePolicy.load(tuned)
    began = likelihoods(policy)
    assert float((began - likelihoods(LanguagePolicy.load(base))).abs().max()) > 1
    dpo = DPO(policy)
    run = fit(dpo, PAIRS, steps=2, lr=0.01, batch_size=4, progress=False)
    assert run.metrics[0]["margin"] == 0
    assert run.metrics[0]["loss"] == pytest.approx(math.log(2))
    assert run.metrics[1]["margin"] > 0
    assert torch.equal(likelihoods(policy.freeze("base")), began)
    assert not torch.equal(likelihoods(policy), began)


@pytest.mark.parametrize("make", [DPO, KTO])
def test_over_a_supervised_adapter_a_new_one_begins_as_that_adapter_does(make: Any, tuned: Path) -> None:
    policy = LanguagePolicy.load(tuned, lora=2)
    assert torch.allclose(likelihoods(policy), likelihoods(LanguagePolicy.load(tuned)), atol=1e-4)
    assert torch.equal(likelihoods(policy), likelihoods(policy.freeze("base")))
    rows: list[Any] = PAIRS if make is DPO else [Label(prompt="a", completion=c, label=c > "c") for c in "abcd"]
    fit(make(policy), rows, steps=1, lr=0.01, batch_size=4, progress=False)
    assert not torch.equal(likelihoods(policy), likelihoods(policy.freeze("base")))


def test_two_adapters_are_saved_as_one_that_peft_opens_on_the_plain_base(
    tuned: Path, base: Path, tmp_path: Path
) -> None:
    policy = LanguagePolicy.load(tuned, lora=2)
    fit(DPO(policy), PAIRS, steps=2, lr=0.02, batch_size=4, progress=False)
    policy.save(tmp_path / "both")
    plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    opened = peft.PeftModel.from_pretrained(plain, tmp_path / "both").eval()
    assert opened.peft_config["default"].r == 6
    for group, ours in zip(GROUPS, likelihoods(policy).reshape(-1, 2), strict=True):
        prompt, answers = policy.ids(group)
        for answer, value in zip(answers, ours, strict=True):
            ids = torch.tensor([*prompt, *answer])
            with torch.no_grad():
                logp = opened(input_ids=ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])
            assert float(logp[len(prompt) - 1 :].sum()) == pytest.approx(float(value), abs=1e-3)


def test_an_adapter_of_more_than_matrices_is_not_put_under_another(base: Path, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=2, target_modules="all-linear", use_dora=True, task_type="CAUSAL_LM")
    LanguagePolicy.load(base, lora=config).save(tmp_path / "dora")
    with pytest.raises(ModelError, match="more than plain LoRA"):
        LanguagePolicy.load(tmp_path / "dora", lora=2)
    assert DPO(LanguagePolicy.load(tmp_path / "dora")).reference


def test_a_snapshot_of_an_adapter_costs_the_adapter_alone_and_does_not_follow_it() -> None:
    policy = tiny_policy()
    policy.add_lora(4, "CAUSAL_LM")
    now = policy.freeze("now")
    before = likelihoods(policy)
    fit(DPO(policy), PAIRS, steps=2, lr=0.02, batch_size=4, progress=False)
    assert torch.equal(likelihoods(now), before)
    trained = {n: p.clone() for n, p in policy.named_parameters()}
    likelihoods(now)
    assert all(torch.equal(p, trained[n]) for n, p in policy.named_parameters())
    assert now._policy is policy


def test_kept_reference_log_probs_are_told_apart_by_what_the_model_reads(tmp_path: Path) -> None:
    pairs = [
        Comparison(prompt=[{"role": "user", "content": "2 plus 3 ?"}], chosen="5", rejected=str(i)) for i in range(4)
    ]
    policy = tiny_policy()
    margins = []
    for template in (CHATML, "be kind\n" + CHATML):
        policy.tokeniser.inner.chat_template = template
        dpo = DPO(policy, store=tmp_path)
        margins.append(float(dpo(dpo.experience(Rows(pairs), Step(0, 0))).metrics["margin"].value))
    assert margins == [0.0, 0.0]


def test_a_run_that_goes_on_compares_with_the_very_numbers_it_began_with() -> None:
    policy = tiny_policy()
    first = DPO(policy)
    alone = first.experience(Rows(PAIRS[:1]), Step(0, 0)).reference
    resumed = DPO(policy)
    resumed.load_state(first.state())
    with torch.no_grad():
        next(iter(resumed.reference.policy._policy.parameters())).mul_(2)  # what is known isn't computed anew
    assert torch.equal(resumed.experience(Rows(PAIRS), Step(0, 0)).reference[:1], alone)


def dropping() -> LanguagePolicy:
    """GPT-2 with a config that drops, as published ones do."""
    config = tiny_config("gpt2")
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        setattr(config, name, 0.3)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    return LanguagePolicy(model, Tokeniser(letters.build_tokenizer()), "gpt2")


def test_log_probs_see_no_dropout_whoever_asks_for_training() -> None:
    policy = dropping()
    policy.train()
    torch.nn.ModuleList([policy]).train()
    assert torch.equal(likelihoods(policy), likelihoods(policy))
    run = fit(GRPO(policy, lambda *, completions, **_: [float(len(c)) for c in completions], group_size=2,
                   sampling=Sampling(max_new_tokens=6)), ["a", "b"], steps=1, batch_size=2, progress=False)  # fmt: skip
    assert run.metrics[0]["off_policy"] < 1e-5
    dpo = DPO(policy)
    dpo.evaluate(PAIRS)
    assert dpo(dpo.experience(Rows(PAIRS), Step(0, 0))).metrics["margin"].value == 0


@pytest.mark.parametrize("make", [tiny_policy, dropping])
def test_recomputed_activations_are_recomputed_and_change_no_gradient(make: Any) -> None:
    def gradient(policy: LanguagePolicy) -> tuple[Tensor, int]:
        calls: list[int] = []
        attention = next(m for n, m in policy.named_modules() if n.endswith(("attn", "self_attn")))
        attention.register_forward_pre_hook(lambda *_: calls.append(1))
        policy.likelihood(GROUPS).policy.sum().backward()
        return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]), len(calls)

    plain, once = gradient(make())
    policy = make()
    policy.checkpoint_activations()
    again, twice = gradient(policy)
    assert (once, twice) == (1, 2)
    assert torch.allclose(plain, again, atol=1e-6)
    policy.sample(["a"], 2, Sampling(max_new_tokens=3))
    assert not any(m.training for m in policy.modules())


def test_first_weights_of_adapters_come_from_their_seed_alone() -> None:
    def drawn(seed: int) -> Tensor:
        policy = tiny_policy()
        torch.rand(7)
        policy.add_lora(2, "CAUSAL_LM", seed)
        return torch.cat([p.flatten() for n, p in policy.named_parameters() if "lora_A" in n])

    state = torch.random.get_rng_state()
    tiny_policy(seed=0)
    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    torch.random.set_rng_state(state)


def test_kto_takes_another_answer_only_where_the_model_can(tmp_path: Path) -> None:
    policy = tiny_policy()
    policy.config.max_position_embeddings = 24
    short, long = (
        Label(prompt="a", completion="b " * 16, label=True),
        Label(prompt="a " * 16, completion="b", label=False),
    )
    given = KTO(policy).experience(Rows([short, long]), Step(0, 0))
    assert [g.completions[1] for g in given.groups] == ["b", "b"]
