"""I3 for reward models: as loaded and as saved they score what transformers' own class says of the template's text."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from accord.errors import AccordError
from accord.rewards import BradleyTerry

from .adapters import moved
from .architectures import NAMES, Unbuilt, saved
from .matrix import Note, one_line, spread
from .templates import TEMPLATES
from .test_i4_templates import ASK
from .tokenizers_ import KINDS

ANSWERS = ("Paris is the capital", "no", "", "let me see, the answer is 5 and twice that is ten")
CLASSES = [n for n in NAMES if n in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES]
FEW = ("llama", "gpt2", "qwen3", "gemma2", "bert", "mixtral")
USED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gpt2", "gpt_neox", "phi3", "opt", "mixtral")


def tokenizer(template: str, kind: str) -> Any:
    t = TEMPLATES[template]
    made = KINDS[kind](t.special, t.bos, t.eos)
    made.chat_template = t.text
    return made


@pytest.mark.parametrize("name", spread(CLASSES, FEW))
def test_a_loaded_model_scores_as_transformers_does(name: str, models: Path, note: Note) -> None:
    try:
        folder = saved(
            name,
            models / "rewards",
            tokenizer("ChatML", "byte-level"),
            auto=AutoModelForSequenceClassification,
            num_labels=1,
        )
    except Unbuilt as reason:
        pytest.skip(str(reason))
    try:
        ours = scores(BradleyTerry.load(folder))
    except AccordError as refusal:
        if name in USED:
            raise
        note(
            "rewards",
            name,
            result="refused",
            reason=one_line(refusal).replace(f"{folder}: ", "").replace(str(folder), name),
        )
        return
    assert torch.allclose(ours, by_transformers(folder), atol=1e-4)
    note("rewards", name, result="works")


@pytest.mark.parametrize("template", [n for n in TEMPLATES if "R1" not in n])
@pytest.mark.parametrize(
    "kind",
    spread(list(KINDS), ("byte-level", "byte-level, pad = eos", "byte-level, one special token", "SentencePiece")),
)
def test_a_model_made_of_a_language_model_is_read_where_transformers_reads_it(
    template: str, kind: str, tmp_path: Path
) -> None:
    """Through every template and tokeniser; with padding in the batch."""
    reward = moved(BradleyTerry.load(saved("llama", tmp_path, tokenizer(template, kind))))
    reward.save(tmp_path / "saved")
    ours = scores(reward)
    assert float(ours.std()) > 1e-3, "answers differ, or this says nothing"
    assert torch.allclose(by_transformers(tmp_path / "saved"), ours, atol=1e-4)
    assert torch.allclose(scores(BradleyTerry.load(tmp_path / "saved")), ours, atol=1e-5)


@pytest.mark.parametrize("name", spread(USED, ("llama", "gpt2")))
def test_a_trained_lora_is_saved_whole(name: str, models: Path, tmp_path: Path) -> None:
    reward = moved(BradleyTerry.load(saved(name, models / "chat", tokenizer("ChatML", "byte-level")), lora=4))
    reward.save(tmp_path)
    assert torch.allclose(by_transformers(tmp_path), scores(reward), atol=1e-4)


@pytest.mark.parametrize("name", spread(USED, ("llama", "qwen3")))
def test_an_adapter_as_peft_saves_it_keeps_its_head(name: str, models: Path, tmp_path: Path) -> None:
    base = saved(name, models / "chat", tokenizer("ChatML", "byte-level"))
    pad = transformers.AutoTokenizer.from_pretrained(base).pad_token_id
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, pad_token_id=pad, dtype=torch.float32
    )
    adapted = moved(get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=4, target_modules="all-linear"))).eval()
    adapted.save_pretrained(tmp_path)
    ours = scores(BradleyTerry.load(tmp_path))
    theirs = rows_through(adapted, transformers.AutoTokenizer.from_pretrained(base))
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert float(ours.std()) > 1e-3


def scores(reward: BradleyTerry) -> Tensor:
    found = reward(prompts=[[ASK]] * len(ANSWERS), completions=list(ANSWERS), group=[0] * len(ANSWERS))
    return found.values.detach()


def by_transformers(folder: Path) -> Tensor:
    """Scores of the template's texts, side by side with padding, as a user of transformers gets them."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    return rows_through(model, transformers.AutoTokenizer.from_pretrained(folder))


@torch.no_grad()
def rows_through(model: Any, tok: Any) -> Tensor:
    texts = [tok.apply_chat_template([ASK, {"role": "assistant", "content": a}], tokenize=False) for a in ANSWERS]
    rows = tok(texts, add_special_tokens=False, padding=True, padding_side="right", return_tensors="pt")
    return (
        model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], use_cache=False).logits[:, 0].float()
    )
