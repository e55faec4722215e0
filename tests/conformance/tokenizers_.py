"""Tokenisers of every make, with vocabularies small enough for tiny models."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from .shrink import VOCABULARY

TEXT = ["what is 2 plus 3 ? the answer is 5 .", "Paris is the capital of France.", "You are a helpful assistant.", "user system assistant model",
        "The quick brown fox", "the weather in Paris"] * 3  # fmt: skip
WORDS = ("▁The", "▁the", "▁quick", "▁bro", "▁fox", "wn", "▁answer", "▁is", "▁Paris", "▁capital", "▁of")


@cache
def byte_level(special: tuple[str, ...] = (), pad: str | None = "<pad>", bos: str | None = "<s>", eos: str = "</s>",
               puts: str | None = None) -> Any:  # fmt: skip
    """A byte-level BPE, as GPT-2's and Qwen's.

    Args:
        special: tokens besides. pad, bos, eos: None for one that it lacks.
        puts: what it makes of a text, "$A" being its tokens ("<s> $A" or "$A </s>").
    """
    known = list(dict.fromkeys(t for t in (pad, bos, eos, *special) if t))
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=known, show_progress=False,
                                                    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    if puts:
        t.post_processor = processors.TemplateProcessing(
            single=puts, special_tokens=[(n, t.token_to_id(n)) for n in known]
        )
    return _wrapped(t, pad, bos, eos)


@cache
def sentencepiece(
    special: tuple[str, ...] = (),
    *,
    legacy: bool = False,
    bos: str | None = "<s>",
    eos: str = "</s>",
    pad: str | None = None,
) -> Any:
    """Llama's: a BPE on pieces that begin with ▁, bytes for what it doesn't know, a space put before each text."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{b:02X}>": 3 + b for b in range(256)}
    merges = []
    for letter in "▁abcdefghijklmnopqrstuvwxyzTPF.?5":
        vocab.setdefault(letter, len(vocab))
    for word in WORDS:
        part = word[0]
        for letter in word[1:]:
            if (part, letter) not in merges:
                merges.append((part, letter))
            part += letter
            vocab.setdefault(part, len(vocab))
    made = LlamaTokenizer(vocab=vocab, merges=merges, legacy=legacy, add_bos_token=True)
    made.add_tokens([AddedToken(t, special=True, normalized=False) for t in (*special, eos) if t not in vocab])
    made.eos_token, made.pad_token = eos, pad
    return made


@cache
def unigram(
    special: tuple[str, ...] = (),
    *,
    bos: str | None = None,
    eos: str = "</s>",
    pad: str | None = "<pad>",
    prefix: bool = True,
) -> Any:
    """A SentencePiece unigram model, as T5's and XGLM's; without a space put before each text, as Gemma's, if told so."""
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.Replace(Regex("\t"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if prefix else "never")
    t.decoder = decoders.Metaspace(prepend_scheme="always" if prefix else "never")
    letters = sorted({c for text in TEXT for c in text} | set("<>/|{}\":,_\n[]()-'"))
    known = list(dict.fromkeys(x for x in ("<unk>", pad, bos, eos, *special) if x))
    t.train_from_iterator(TEXT, trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=known, unk_token="<unk>", show_progress=False,
                                                        initial_alphabet=[*letters, *"abcdefghijklmnopqrstuvwxyz0123456789"]))  # fmt: skip
    return _wrapped(t, pad, bos, eos, unk_token="<unk>")


def _wrapped(t: Tokenizer, pad: str | None, bos: str | None, eos: str | None, **more: str) -> Any:
    names = {"pad_token": pad, "bos_token": bos, "eos_token": eos, **more}
    return PreTrainedTokenizerFast(
        tokenizer_object=t, clean_up_tokenization_spaces=False, **{k: v for k, v in names.items() if v is not None}
    )


Make = Callable[[Sequence[str], str | None, str], Any]
"""A tokeniser for a template's special tokens, its first token and its end token."""

KINDS: dict[str, Make] = {
    "byte-level": lambda special, bos, eos: byte_level(tuple(special), bos=bos, eos=eos),
    "byte-level, no pad": lambda special, bos, eos: byte_level(tuple(special), pad=None, bos=bos, eos=eos),
    "byte-level, pad = eos": lambda special, bos, eos: byte_level(tuple(special), pad=eos, bos=bos, eos=eos),
    "byte-level, no bos": lambda special, bos, eos: byte_level(tuple(special), bos=None, eos=eos),
    "byte-level, one special token": lambda special, bos, eos: byte_level(tuple(special), pad=None, bos=eos, eos=eos),
    "byte-level, adds bos": lambda special, bos, eos: byte_level(
        tuple(special), bos=bos or "<s>", eos=eos, puts=f"{bos or '<s>'} $A"
    ),
    "byte-level, adds eos": lambda special, bos, eos: byte_level(tuple(special), bos=bos, eos=eos, puts=f"$A {eos}"),
    "SentencePiece": lambda special, bos, eos: sentencepiece(tuple(special), eos=eos),
    "SentencePiece, legacy": lambda special, bos, eos: sentencepiece(tuple(special), eos=eos, legacy=True),
    "unigram": lambda special, bos, eos: unigram(tuple(special), bos=bos, eos=eos),
    "unigram, no prefix": lambda special, bos, eos: unigram(tuple(special), bos=bos, eos=eos, prefix=False),
}
