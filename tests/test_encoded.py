"""Prompts encoded once: what is read from disk is what would be computed, and text encoders are only there when they are needed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord import algorithms as a
from accord.cli import main
from accord.engine import fit
from accord.policies.diffusion import Denoising, DiffusionPolicy, EncodedOnce
from accord.policies.diffusion.encoded import PART
from tiny_families import TINY, TWINS, pipeline
from tiny_families import folder as folder_of
from tiny_pipelines import brightness

PROMPTS = ["a red cat", "a person with a hat", "a cat", ""]


def policy(folder: Path, family: str = "sd", *, silent: bool = False) -> EncodedOnce:
    """Silent: its text encoders may not be asked."""
    made = EncodedOnce(pipeline(family), family, size=TINY[family].size)
    made.folder = folder
    if silent:
        for encoder in made.text_encoders:
            encoder.register_forward_pre_hook(refuse)
    return made


def refuse(*call: Any) -> None:
    raise AssertionError("a text encoder was asked")


@pytest.mark.parametrize("family", [f for f in TINY if f not in TWINS])
def test_what_is_read_is_what_the_family_encodes(family: str, tmp_path: Path) -> None:
    plain = DiffusionPolicy(pipeline(family), family, size=TINY[family].size)
    should = [plain.condition([p]).tensors for p in PROMPTS]
    policy(tmp_path, family).ahead(PROMPTS)
    later = policy(tmp_path, family, silent=True)
    for prompt, tensors in zip(PROMPTS, should, strict=True):
        found = later.condition([prompt]).tensors
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[n], x) and found[n].dtype == x.dtype for n, x in tensors.items())


def test_a_run_from_the_cache_is_a_run_without_to_the_bit(tmp_path: Path) -> None:
    def trained(p: DiffusionPolicy) -> list[Tensor]:
        p.add_lora(2)
        sampling = Denoising(steps=2, guidance=3.0, eta=1.0)
        fit(a.DDPO(p, brightness, min_count=1, group_size=2, sampling=sampling), PROMPTS[:3], steps=2, batch_size=2, lr=1e-2, progress=False)  # fmt: skip
        return [w.detach().clone() for w in p.parameters() if w.requires_grad]

    plain = trained(DiffusionPolicy(pipeline("sd"), "sd"))
    assert all(map(torch.equal, plain, trained(policy(tmp_path)))), "that fills it as it goes"
    assert all(map(torch.equal, plain, trained(policy(tmp_path, silent=True)))), "that reads it"


def other_words(p: EncodedOnce) -> None:
    p.pipeline.tokenizer.add_tokens(["catfish"])


def other_weights(p: EncodedOnce) -> None:
    with torch.no_grad():
        next(p.text_encoders[0].parameters())[0, 0] += 1e-3


def other_precision(p: EncodedOnce) -> None:
    p.to(torch.bfloat16)


def other_settings(p: EncodedOnce) -> None:
    """As somebody mends a config.json: the same weights say something else."""
    config = p.text_encoders[0].config.to_dict()
    config["hidden_act"] = "relu" if config["hidden_act"] != "relu" else "gelu"
    made = type(p.text_encoders[0])(type(p.text_encoders[0].config)(**config)).eval().requires_grad_(False)
    made.load_state_dict(p.text_encoders[0].state_dict())
    p.pipeline.register_modules(text_encoder=made)


def other_attention(p: EncodedOnce) -> None:
    p.text_encoders[0].set_attn_implementation("eager")


@pytest.mark.parametrize("change", [other_words, other_weights, other_precision, other_settings, other_attention])
def test_other_encoders_have_embeddings_of_their_own(change: Callable[[EncodedOnce], None], tmp_path: Path) -> None:
    policy(tmp_path).ahead(PROMPTS)
    again = policy(tmp_path, silent=True).ahead(PROMPTS)
    assert len(list(tmp_path.glob("*.sqlite"))) == 1
    fresh = policy(tmp_path)
    change(fresh)
    fresh.ahead(PROMPTS)
    assert len(list(tmp_path.glob("*.sqlite"))) == 2
    assert again.condition(PROMPTS).tensors["encoder_hidden_states"].dtype == torch.float32
    if change is other_settings:
        shown = [p.condition(PROMPTS).tensors["encoder_hidden_states"] for p in (again, fresh)]
        assert not torch.allclose(*shown)


def test_products_of_less_precision_have_embeddings_of_their_own(tmp_path: Path) -> None:
    policy(tmp_path).ahead(PROMPTS)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        policy(tmp_path).ahead(PROMPTS)
    finally:
        torch.set_float32_matmul_precision(before)
    assert len(list(tmp_path.glob("*.sqlite"))) == 2


def test_every_run_tells_what_is_cut_and_each_prompt_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    long = "a red cat " * 100
    for silent in (False, True):
        caplog.clear()
        p = policy(tmp_path, silent=silent).ahead([long, "a cat"])
        p.condition([long])
        p.condition([long, "a cat"])
        assert len([r for r in caplog.records if "its end is not seen" in r.getMessage()]) == 1


def test_what_was_encoded_before_it_was_stopped_is_kept_by_parts(tmp_path: Path) -> None:
    prompts = [f"{i:03d}" for i in range(2 * PART + 3)]
    p = policy(tmp_path)
    asked: list[Any] = []

    def stop(*call: Any) -> None:
        asked.append(call)
        if len(asked) > 2 * PART + 1:
            raise KeyboardInterrupt

    p.text_encoders[0].register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        p.ahead(prompts)
    later, again = policy(tmp_path), []
    later.text_encoders[0].register_forward_pre_hook(lambda *call: again.append(call))
    later.ahead(prompts)
    assert len(again) == len(prompts) + 1 - 2 * PART, "with the blank one"


def test_a_call_of_the_tokenizer_changes_no_key(tmp_path: Path) -> None:
    policy(tmp_path).ahead(PROMPTS)
    used = policy(tmp_path, silent=True)
    used.pipeline.tokenizer(PROMPTS[:2], padding="max_length", truncation=True, max_length=5)
    used.ahead(PROMPTS)


def test_a_frozen_copy_and_a_reference_from_a_folder_read_it_too(tmp_path: Path) -> None:
    p = policy(tmp_path).ahead(PROMPTS)
    for encoder in p.text_encoders:
        encoder.register_forward_pre_hook(refuse)
    sampling = Denoising(steps=2, guidance=2.0, eta=0.0)
    drawn = p.sample(PROMPTS, 1, sampling).completions
    assert all(map(torch.equal, p.freeze("now").sample(PROMPTS, 1, sampling).completions, drawn))
    saved = p.freeze(str(folder_of("sd", str(tmp_path))))
    assert all(map(torch.equal, saved.sample(PROMPTS, 1, sampling).completions, drawn))
    assert len(list(tmp_path.glob("*.sqlite"))) == 1


def test_the_command_line_has_a_flag_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS[:3]))
    asked = ["align", "ddpo", "--data", str(data), "--reward", "tiny_pipelines:brightness", "--encode_once", "true", "--test=0.4",
             "--out", str(tmp_path / "run"), "--device=cpu", "--training.steps=1", "--training.batch_size=2"]  # fmt: skip
    made = ["--policy", str(folder_of("sd", str(tmp_path))), "--lora=2", "--min_count=1", "--group_size=2", "--sampling.steps=2"]  # fmt: skip
    assert main([*asked, *made]) == 0, capsys.readouterr().err
    (kept,) = (tmp_path / "cache" / "prompts").glob("*.sqlite")
    assert kept.stat().st_size > 1000
    refused = ["align", "sft", "--policy", "letters", "--data", "letters", "--out", str(tmp_path / "no"), "--encode_once", "true"]  # fmt: skip
    assert main(refused) == 2
    assert "encode_once is for pictures, but letters writes words" in capsys.readouterr().err
