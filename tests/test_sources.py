"""Where a policy comes from: whatever names one leads to the same policy."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import peft
import pytest
import torch
import transformers
from huggingface_hub.constants import HF_HUB_CACHE
from transformers.convert_slow_tokenizer import bytes_to_unicode

from accord.cli import main
from accord.cli.policies import kind_of_policy, open_policy
from accord.errors import ModelError
from accord.policies import DiffusionPolicy, LanguagePolicy
from accord.policies.base import Group
from accord.policies.diffusion import Denoising
from accord.policies.hub import PICTURE_LORA
from accord.policies.tokenise import Tokeniser
from accord.rewards import BradleyTerry
from accord.worlds import letters
from conftest import SMALL
from tiny_pipelines import folder, nudge

ASKED = ["what is 2 plus 3 ?", "a red cat"]
TEXTS = [Group(p, ("the answer is 5 .", "thank you .")) for p in ASKED]


def published(name: str, source: Path) -> str:
    """As a repository of the hub that has been loaded before: offline, its cache is all that there is of it."""
    place = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    commit = "0" * 40
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(source, place / "snapshots" / commit)
    return name


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def byte_level() -> transformers.GPT2Tokenizer:
    """A token a byte, and one of two."""
    words = [*bytes_to_unicode().values(), "th", "<|endoftext|>"]
    return transformers.GPT2Tokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[("t", "h")])


def as_gguf(model: Any, tokenizer: Any, file: Path) -> Path:
    """A Llama as llama.cpp keeps it: its own names, queries and keys in its own order."""
    c = model.config
    heads = {"q": c.num_attention_heads, "k": c.num_key_value_heads}
    w = gguf.GGUFWriter(file, "llama")
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(heads["q"])
    w.add_head_count_kv(heads["k"])
    w.add_rope_dimension_count(c.head_dim)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_vocab_size(c.vocab_size)
    words = tokenizer.get_vocab()
    w.add_tokenizer_model("gpt2")
    w.add_token_list(sorted(words, key=lambda t: words[t]))
    w.add_token_merges(["t h"])
    w.add_eos_token_id(tokenizer.eos_token_id)
    for key, x in model.state_dict().items():
        if ".layers." in key:
            block, part = key.removesuffix(".weight").split(".", 3)[2:]
            if part.endswith(
                ("q_proj", "k_proj")
            ):  # halves beside each other, where transformers has one after the other
                x = x.unflatten(0, (heads[part[10]], 2, -1)).swapaxes(1, 2).reshape(x.shape)
            w.add_tensor(f"blk.{block}.{GGUF[part]}.weight", x.numpy())
        else:
            w.add_tensor(f"{GGUF[key]}.weight", x.numpy())
    for write in (w.write_header_to_file, w.write_kv_data_to_file, w.write_tensors_to_file, w.close):
        write()
    return file


GGUF = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm", "model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm",
        "lm_head.weight": "output"}  # fmt: skip
"""Names of a Llama's parts there."""


def test_a_gguf_file_is_the_model_that_it_was_made_of(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_CACHE", str(at))
    tokenizer = byte_level()
    config = transformers.LlamaConfig(**{**SMALL, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None})  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    found = open_policy(str(as_gguf(model, tokenizer, at / "tiny.gguf")))
    own = LanguagePolicy(model, Tokeniser(tokenizer), "tiny")
    assert [found.ids(g) for g in TEXTS] == [own.ids(g) for g in TEXTS]
    with torch.no_grad():
        assert torch.allclose(found.likelihood(TEXTS).policy, own.likelihood(TEXTS).policy, atol=1e-3)


def adapter(at: Path) -> Path:
    """A LoRA on the letters' model, which says something."""
    if not (at / "adapter").exists():
        policy = LanguagePolicy.load(letters.WEIGHTS, lora=2)
        nudge(policy, 0.05)  # type: ignore[arg-type]
        policy.save(at / "adapter")
    return at / "adapter"


WORDS: dict[str, Callable[[Path], str]] = {
    "letters": lambda at: "letters",
    "a folder": lambda at: str(letters.WEIGHTS),
    "a name": lambda at: published("org/words", letters.WEIGHTS),
    "an adapter": lambda at: str(adapter(at)),
    "an adapter's name": lambda at: published("org/words-lora", adapter(at)),
}


def test_what_a_name_of_ours_is_is_asked_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("huggingface_hub.list_repo_files", asked.append)
    assert {kind_of_policy(name) for name in ("letters", "smollm2")} == {LanguagePolicy}
    assert kind_of_policy("portraits") is DiffusionPolicy
    assert not asked


@pytest.mark.parametrize("source", WORDS)
def test_a_model_is_the_same_whatever_names_it(source: str, at: Path) -> None:
    spec = WORDS[source](at)
    assert kind_of_policy(spec) is LanguagePolicy
    found, plain = open_policy(spec), LanguagePolicy.load(letters.WEIGHTS)
    assert found.adapted == ("adapter" in source)
    with torch.no_grad():
        says, said = found.likelihood(TEXTS).policy, plain.likelihood(TEXTS).policy
        if found.adapted:
            with found.without_adapter():
                assert torch.equal(found.likelihood(TEXTS).policy, said)
            assert not torch.allclose(says, said, atol=0.01)
            said = LanguagePolicy.load(adapter(at)).likelihood(TEXTS).policy
    assert torch.equal(says, said)


def lora(at: Path) -> Path:
    """A LoRA on the tiny pipeline, which draws something."""
    if not (at / "lora").exists():
        policy = DiffusionPolicy.load(folder("sd", str(at)), lora=2)
        nudge(policy, 0.3)
        policy.save(at / "lora")
    return at / "lora"


PICTURES: dict[str, Callable[[Path], str]] = {
    "a folder": lambda at: str(folder("sd", str(at))),
    "a name": lambda at: published("org/pictures", folder("sd", str(at))),
    "a lora": lambda at: str(lora(at)),
    "a lora's name": lambda at: published("org/pictures-lora", lora(at)),
}


@pytest.mark.parametrize("source", PICTURES)
def test_a_pipeline_is_the_same_whatever_names_it(source: str, at: Path) -> None:
    """And a LoRA knows its pipeline, wherever it lies."""
    spec = PICTURES[source](at)
    assert kind_of_policy(spec) is DiffusionPolicy
    few = Denoising(steps=2, guidance=1.0)

    def draws(policy: Any) -> torch.Tensor:
        return torch.stack(policy.sample(ASKED, 1, few, seed=1).completions)

    found, plain = open_policy(spec), draws(DiffusionPolicy.load(folder("sd", str(at))))
    assert found.adapted == ("lora" in source)
    if not found.adapted:
        assert torch.equal(draws(found), plain)
        return
    assert {n for n, p in found.denoiser.named_parameters() if p.requires_grad} == {n for n, _ in found.denoiser.named_parameters() if "lora_" in n}  # fmt: skip
    assert torch.equal(draws(found), draws(DiffusionPolicy.load(lora(at))))
    assert not torch.allclose(draws(found), plain, atol=1e-3)
    with found.without_adapter():
        assert torch.equal(draws(found), plain)
    found.save(at / "again")
    assert torch.allclose(draws(DiffusionPolicy.load(at / "again")), draws(found), atol=1e-6), (
        "its pipeline is the first one's"
    )


def test_a_lora_of_an_embedded_pipeline_is_drawn_from_and_searched_anywhere(
    at: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, away = at / "run", at / "away"
    looks = ["--reward", "accord.worlds.portraits:Looks", "--sampling.steps=2", "--sampling.guidance=1"]
    few = [
        "--limit=8",
        "--test=0.3",
        "--test_limit=2",
        "--training.steps=1",
        "--training.batch_size=2",
        "--training.progress=false",
    ]
    assert (
        main(
            [
                "align",
                "draft",
                "--policy",
                "portraits/flow",
                "--data",
                "portraits",
                "--lora=1",
                "--out",
                str(run),
                *looks,
                *few,
            ]
        )
        == 0
    )
    shutil.copytree(run / "policy", away)
    shutil.rmtree(run)
    call = ["sample", "--policy", str(away), "--data", "portraits", "--limit=2", "--n=2", "--out", str(at / "drawn")]
    assert main([*call, "--search", "best-of-n", *looks]) == 0
    assert len((at / "drawn" / "samples.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("card", [None, "# A LoRA", "---\nlicense: mit\n---\n", "---\nbase_model: [\n---"])
def test_a_lora_that_names_no_pipeline_is_one_line(card: str | None, at: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    shutil.copy(lora(at) / PICTURE_LORA, tmp_path)
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    with pytest.raises(ModelError, match="base_model: NAME"):
        DiffusionPolicy.load(tmp_path)
    assert main(["sample", "--policy", str(tmp_path), "--prompt", "a cat", "--out", str(tmp_path / "o")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


# Loaded already.

MODEL, TOKENIZER = str(letters.WEIGHTS), letters.build_tokenizer()
LOADED: dict[str, Callable[[Path], Any]] = {
    "a model": lambda at: transformers.AutoModelForCausalLM.from_pretrained(MODEL),
    "in half precision": lambda at: transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.bfloat16),
    "under an adapter": lambda at: peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(MODEL), adapter(at)),
}  # fmt: skip


@pytest.mark.parametrize("tokenizer", [TOKENIZER, None], ids=["with its tokeniser", "alone"])
@pytest.mark.parametrize("source", LOADED)
def test_a_loaded_model_is_as_good_as_its_name(source: str, tokenizer: Any, at: Path) -> None:
    named = LanguagePolicy.load(adapter(at) if "adapter" in source else MODEL, seed=1)
    found = LanguagePolicy.load(LOADED[source](at), tokenizer=tokenizer, seed=1)
    assert (found.packs, found.adapted) == (named.packs, named.adapted)
    trains = [{n: p.dtype for n, p in x.named_parameters() if p.requires_grad} for x in (found, named)]
    assert trains[0] == trains[1]
    with torch.no_grad():
        says, should = found.likelihood(TEXTS).policy, named.likelihood(TEXTS).policy
    assert torch.allclose(says, should, atol=0.2 if "half" in source else 1e-5)


@pytest.mark.parametrize("source", ["a model", "under an adapter"])
def test_a_loaded_model_becomes_a_reward_as_its_name_would(source: str, at: Path) -> None:
    named = BradleyTerry.load(adapter(at) if "adapter" in source else MODEL)
    found = BradleyTerry.load(LOADED[source](at), tokenizer=TOKENIZER)
    assert not found.has_opinions
    for reward in (named, found):
        torch.nn.init.ones_(reward.core.score.weight)  # type: ignore[union-attr, arg-type]
    assert torch.allclose(found.values_of(TEXTS), named.values_of(TEXTS), atol=1e-4)
    found.save(at / "reward")
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(at / "reward")
    assert torch.allclose(
        BradleyTerry.load(classifier, tokenizer=TOKENIZER).values_of(TEXTS), found.values_of(TEXTS), atol=1e-4
    )


def test_what_is_no_model_or_has_no_tokeniser_is_refused() -> None:
    bare = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL))
    with pytest.raises(ModelError, match="give tokenizer="):
        LanguagePolicy.load(bare)
    for made in (LanguagePolicy, BradleyTerry):
        with pytest.raises(ModelError, match="not a Linear"):
            made.load(torch.nn.Linear(1, 1))
