"""The world's generator: a tiny Llama with a word tokeniser, shipped with the package."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from accord.policies import LanguagePolicy
from accord.policies.attention import NAME
from accord.policies.tokenise import Tokeniser
from accord.worlds.letters.answers import call_text
from accord.worlds.letters.manners import MANNERS
from accord.worlds.letters.words import (
    CITIES,
    CLASSES,
    DAYS,
    EVENTS,
    EVERY_WORD,
    HARMS,
    NAMES,
    OPERATIONS,
    OPTIONS,
    TARGETS,
    TOOLS,
    VERBS,
)

WEIGHTS = Path(__file__).parent / "weights"
"""A model folder that `AutoModelForCausalLM.from_pretrained` opens."""


def policy() -> LanguagePolicy:
    """The pretrained base policy (0.9 M parameters)."""
    return LanguagePolicy.load(WEIGHTS)


def vocabulary() -> list[str]:
    """Every word of requests and replies."""
    texts = [*EVERY_WORD, *MANNERS, *(call_text(t, c, *d) for t in TOOLS for c in CITIES for d in ((), *zip(DAYS)))]
    words = {w for text in texts for w in text.split()}
    words.update(map(str, range(100)), OPERATIONS, VERBS.values(), OPTIONS, CLASSES, CITIES, NAMES, EVENTS, DAYS, TOOLS)
    words.update(HARMS, TARGETS, *CLASSES.values(), *TOOLS.values())
    return sorted(words)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; texts are words separated by spaces."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = {w: i for i, w in enumerate([*special, *vocabulary()])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", words["<s>"])])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
                                   unk_token="<unk>", clean_up_tokenization_spaces=False)  # fmt: skip


def build_model(seed: int, *, width: int = 128, layers: int = 4) -> LanguagePolicy:
    """An untrained policy of this world; `train` pretrains it."""
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=max(2, width // 28), num_key_value_heads=max(2, width // 28),
        max_position_embeddings=256, tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.set_attn_implementation(NAME)
    return LanguagePolicy(model, Tokeniser(tokenizer, "the tokeniser of letters"), "letters")
