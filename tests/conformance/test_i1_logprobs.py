"""I1: training computes the log-probs of what was sampled, and they are the model's own; or the model is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from accord.errors import ModelError
from accord.policies import LanguagePolicy, Sampling
from accord.policies.base import Group

from .architectures import NAMES, Unbuilt, saved
from .matrix import Note, one_line, spread

PROMPTS = ["the answer is", "what is 2 plus 3 ? the answer is 5 . Paris is"]
ANSWERS = (" 5 .", " the capital of France, the quick brown fox")
USED = (
    "llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_5_text", "qwen3_next", "gemma", "gemma2",
    "gemma3_text", "gpt2", "gpt_neox", "gpt_oss", "phi", "phi3", "cohere", "cohere2", "granite", "granitemoe", "granitemoehybrid",
    "olmo2", "olmo3", "smollm3", "starcoder2", "stablelm", "falcon", "falcon_h1", "bloom", "opt", "glm4", "deepseek_v3", "exaone4",
    "nemotron", "ernie4_5", "helium", "minicpm3", "llama4_text", "lfm2", "mamba", "jamba",
)  # fmt: skip
"""What people train: refusing one of these is a fault."""
FEW = (
    "llama", "gpt2", "qwen3", "gemma2", "cohere", "granite", "bloom", "opt", "mixtral", "deepseek_v3", "gpt_oss", "mamba", "jamba",
    "bert", "bart",
)  # fmt: skip


@pytest.mark.parametrize("name", spread(NAMES, FEW))
def test_training_computes_what_sampling_noted_and_both_are_the_models_own(name: str, models: Path, note: Note) -> None:
    policy, folder = load(name, models, note)
    try:
        rollouts = policy.sample(PROMPTS, 2, Sampling(max_new_tokens=8), seed=1)
    except ModelError as refusal:
        if name in USED:
            raise
        note("architectures", name, sampling=one_line(refusal).replace(f"{folder}: ", "").replace(str(folder), name))
        return
    ways = {"shared": "a prompt's cache is shared out", "own": "a cache for each answer", "none": "without a cache"}
    note("architectures", name, sampling=ways[policy.sampling_way])
    own = plain(folder)
    with torch.no_grad():
        computed = policy.logprobs(rollouts)
        said = [
            own_logprobs(own, *ids)
            for ids in zip(rollouts.actions.prompt_ids, rollouts.actions.completion_ids, strict=True)
        ]
    assert float((computed - rollouts.logprobs).abs().max()) < 1e-4
    assert max(float((row[: len(s)] - s).abs().max()) for row, s in zip(computed, said, strict=True)) < 1e-4


@pytest.mark.parametrize("name", spread(NAMES, FEW))
def test_given_answers_are_as_likely_as_the_class_says_and_so_is_the_gradient(
    name: str, models: Path, note: Note
) -> None:
    policy, folder = load(name, models, note)
    found = policy.likelihood([Group(p, ANSWERS) for p in PROMPTS])
    own = plain(folder)
    ids = [(policy.tokeniser.prompt(p), policy.tokeniser.completion(p, a)) for p in PROMPTS for a in ANSWERS]
    wanted = torch.stack([own_logprobs(own, *pair).sum() for pair in ids])
    assert float((found.policy - wanted).detach().abs().max()) < 1e-4 * max(len(c) for _, c in ids)
    found.policy.sum().backward()
    wanted.sum().backward()
    got, want = gradient(policy.core), gradient(own)
    assert got.keys() == want.keys()
    whole = torch.cat([w.flatten() for w in want.values()]).norm()
    assert float(torch.stack([(got[k] - want[k]).norm() for k in want]).norm() / whole) < 1e-4


@pytest.mark.parametrize("name", spread(USED, ("llama", "gpt2", "gemma2")))
def test_in_half_precision_they_differ_by_its_rounding_alone(name: str, models: Path, note: Note) -> None:
    policy = LanguagePolicy.load(saved(name, models), dtype="bfloat16")
    rollouts = policy.sample(PROMPTS, 2, Sampling(max_new_tokens=8), seed=1)
    with torch.no_grad():
        gap = (policy.logprobs(rollouts) - rollouts.logprobs).abs()[rollouts.mask]
    assert float(gap.mean()) < 0.05
    note("precisions", "bfloat16", result="works", largest=f"{float(gap.max()):.2g}")


def test_a_temperature_is_part_of_the_log_probs(models: Path) -> None:
    for name in ("cohere", "gemma2", "granite"):
        folder = saved(name, models)
        policy = LanguagePolicy.load(folder)
        rollouts = policy.sample(PROMPTS, 2, Sampling(max_new_tokens=8, temperature=0.7), seed=1)
        with torch.no_grad():
            computed = policy.logprobs(rollouts)
        ids = rollouts.actions.prompt_ids[0], rollouts.actions.completion_ids[0]
        assert torch.allclose(computed, rollouts.logprobs, atol=1e-4)
        assert torch.allclose(computed[0, : len(ids[1])], own_logprobs(plain(folder), *ids, temperature=0.7), atol=1e-4)


@pytest.mark.parametrize("name", ["bert", "roberta", "electra"])
def test_a_model_that_sees_what_comes_after_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refusal:
        LanguagePolicy.load(saved(name, tmp_path, is_decoder=False))
    one_line(refusal.value)


def load(name: str, models: Path, note: Note) -> tuple[LanguagePolicy, Path]:
    """The policy of a tiny model of this type; the test ends where there is none, or a refusal is right."""
    try:
        folder = saved(name, models)
    except Unbuilt as reason:
        note("architectures", name, path="not tried", reason=str(reason))
        pytest.skip(str(reason))
    try:
        policy = LanguagePolicy.load(folder)
    except ModelError as refusal:
        if name in USED:
            raise
        note(
            "architectures",
            name,
            path="refused",
            reason=one_line(refusal).replace(f"{folder}: ", "").replace(str(folder), name),
        )
        pytest.skip("refused in one line")
    path = "packed trees" if policy.packs else "padded rows"
    note("architectures", name, path=path, head="in chunks" if policy.head is not None else "its own logits")
    return policy, folder


def plain(folder: Path) -> Any:
    """The same by plain transformers."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def own_logprobs(model: Any, prompt: list[int], completion: list[int], temperature: float = 1.0) -> Tensor:
    """A completion's log-probs by the class's own logits of the whole sequence."""
    logits = model(input_ids=torch.tensor([prompt + completion]), use_cache=False).logits.float() / temperature
    return logits[0, len(prompt) - 1 : -1].log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]


def gradient(model: Any) -> dict[str, Tensor]:
    """Of every weight that has one."""
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
