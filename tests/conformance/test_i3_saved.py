"""I3: what is saved gives the same log-probs and pictures through plain transformers, peft and diffusers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from diffusers import DiffusionPipeline
from peft import AutoPeftModelForCausalLM, PeftModel
from torch import Tensor

import tiny_pipelines
from accord.errors import ModelError
from accord.policies import Denoising, LanguagePolicy
from accord.policies.base import Group

from .adapters import STARTS, moved
from .architectures import saved
from .matrix import Note, one_line, spread
from .test_i1_logprobs import ANSWERS, PROMPTS, own_logprobs

GROUPS = [Group(p, ANSWERS) for p in PROMPTS]
SOME = ("llama", "gpt2", "gemma2", "mixtral", "cohere", "gpt_neox", "qwen3", "bloom", "phi3", "granite")


@pytest.mark.parametrize("architecture", spread(SOME, SOME[:4]))
@pytest.mark.parametrize("start", STARTS)
def test_a_saved_policy_is_the_same_for_transformers_and_peft(
    start: str, architecture: str, models: Path, tmp_path: Path, note: Note
) -> None:
    try:
        policy = moved(STARTS[start](architecture, models), seed=2)
    except ModelError as refusal:  # adapters of experts can't be written as one
        if architecture != "mixtral" or "over" not in start:
            raise
        one_line(refusal)
        return
    policy.save(tmp_path)
    wanted = policy.likelihood(GROUPS).policy.detach()
    assert torch.allclose(by_its_class(opened(tmp_path), policy), wanted, atol=2e-3)
    assert torch.allclose(LanguagePolicy.load(tmp_path).likelihood(GROUPS).policy, wanted, atol=1e-3)
    if "LoRA" in start:
        base = transformers.AutoModelForCausalLM.from_pretrained(saved(architecture, models), dtype=torch.float32)
        assert torch.allclose(by_its_class(PeftModel.from_pretrained(base, tmp_path).eval(), policy), wanted, atol=2e-3)
    note("adapters", start, saved="opens in " + ("transformers" if start == "all weights" else "peft"))


@pytest.mark.parametrize("start", STARTS)
def test_a_second_round_goes_on_from_what_the_first_saved(start: str, models: Path, tmp_path: Path) -> None:
    """Saved, loaded, trained on and saved again: nothing is added twice or lost."""
    first = moved(STARTS[start]("llama", models), seed=2)
    first.save(tmp_path / "first")
    second = moved(LanguagePolicy.load(tmp_path / "first"), seed=3)
    second.save(tmp_path / "second")
    wanted = second.likelihood(GROUPS).policy.detach()
    assert torch.allclose(by_its_class(opened(tmp_path / "second"), second), wanted, atol=2e-3)


def test_tokeniser_template_and_ends_are_saved_too(models: Path, tmp_path: Path) -> None:
    policy = LanguagePolicy.load(saved("llama", models))
    policy.tokeniser.inner.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    policy.save(tmp_path)
    again = LanguagePolicy.load(tmp_path)
    assert again.tokeniser.inner.chat_template == policy.tokeniser.inner.chat_template
    assert again.tokeniser.ends == policy.tokeniser.ends
    assert again.tokeniser.pad == policy.tokeniser.pad


@pytest.mark.parametrize("family", tiny_pipelines.FAMILIES)
def test_a_saved_lora_makes_the_same_pictures_in_diffusers(family: str, tmp_path: Path, note: Note) -> None:
    policy = tiny_pipelines.policy(family, lora=2)
    tiny_pipelines.nudge(policy, 0.1)
    plain = tiny_pipelines.pipeline(family)
    plain.save_pretrained(tmp_path / "base")
    policy.save(tmp_path / "lora")
    start = policy.noise(1, 5)
    ours = policy.sample(["a red cat"], 1, Denoising(steps=3, guidance=2.0, eta=0.0), start=start)
    more = {"text_encoder_3": None, "tokenizer_3": None} if family == "sd3" else {}
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "base", **more)
    pipe.set_progress_bar_config(disable=True)
    untrained = pictures(pipe, start)
    pipe.load_lora_weights(str(tmp_path / "lora"))
    assert not torch.allclose(pictures(pipe, start), untrained, atol=1e-3), "the adapter does something"
    assert torch.allclose(pictures(pipe, start)[0], ours.completions[0], atol=2e-3)
    note("pictures", family, saved="opens in diffusers")


def pictures(pipe: Any, start: Tensor) -> Tensor:
    return pipe(
        ["a red cat"],
        num_inference_steps=3,
        guidance_scale=2.0,
        latents=start.clone(),
        output_type="pt",
        height=16,
        width=16,
    ).images


def opened(folder: Path) -> Any:
    """A saved folder as a user of transformers or peft opens it."""
    auto = AutoPeftModelForCausalLM if (folder / "adapter_config.json").is_file() else transformers.AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def by_its_class(model: Any, policy: LanguagePolicy) -> Tensor:
    t = policy.tokeniser
    return torch.stack([own_logprobs(model, t.prompt(p), t.completion(p, a)).sum() for p in PROMPTS for a in ANSWERS])
