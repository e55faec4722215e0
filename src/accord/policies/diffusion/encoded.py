"""What a prompt costs, paid once: embeddings on disk, text encoders off the device."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from accord.engine.run import versions
from accord.engine.store import Blobs, cache_folder, fingerprint
from accord.feedback import text_of
from accord.policies.base import Prompt
from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.policy import DiffusionPolicy
from accord.policies.frozen import FrozenPolicy
from accord.policies.placement import Aside

HOME = torch.device("cpu")


class EncodedOnce(DiffusionPolicy):
    """A `DiffusionPolicy` that keeps on disk what its prompts become, and its text encoders on the CPU.

    Known prompts are read. For others the encoders come to the policy's device, and leave again: call `ahead` with all
    that will be asked, so that they come but once. Embeddings are those of a `DiffusionPolicy` that meets a prompt alone, to the bit. There is a file
    for each set of text encoders, tokenizers, size of pictures, kind of device and versions of the libraries.

    Attributes:
        folder: of these files; None is prompts/ in accord's cache.
    """

    folder: str | Path | None = None

    def __init__(self, pipeline: Any, *args: Any, **options: Any) -> None:
        super().__init__(pipeline, *args, **options)
        self._kept: dict[str, Embeddings] = {}
        mine = {id(p) for p in self.text_encoders}
        self._pipeline = Aside(*(part for i in range(len(self._pipeline)) if id(part := self._pipeline[i]) not in mine))
        self._bring(HOME)

    @property
    def text_encoders(self) -> list[nn.Module]:
        """Those of the pipeline, which lie on the CPU."""
        parts = self.pipeline.components.items()
        return [p for name, p in parts if name.startswith("text_encoder") and isinstance(p, nn.Module)]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Text encoders take a precision, but no device."""
        before = self._precisions()
        for encoder in self.text_encoders:
            encoder._apply(lambda w: w.to(fn(w.new_empty(0)).dtype))
        if before != self._precisions():
            self._kept.clear()
        return super()._apply(fn, recurse)

    def _precisions(self) -> list[torch.dtype]:
        return [w.dtype for encoder in self.text_encoders for w in chain(encoder.parameters(), encoder.buffers())]

    @torch.no_grad()
    def ahead(self, prompts: Iterable[Prompt]) -> Self:
        """Encode these prompts, and the blank one of guidance, where they are not known yet; the policy itself."""
        kept = self._embeddings()
        texts = sorted({self.family.blank, *map(text_of, prompts)})
        self._encode(kept, [t for t in texts if not kept.has(t)])
        return self

    @torch.no_grad()
    def condition(self, prompts: Sequence[Prompt]) -> Condition:
        """As `DiffusionPolicy.condition`."""
        new = sorted({text_of(p) for p in prompts} - self._conditions.keys())
        if new:
            kept = self._embeddings()
            self._encode(kept, [t for t in new if not kept.has(t)])
            self._conditions |= {t: kept.of(t).to(self.device) for t in new}
        return super().condition(prompts)

    def _encode(self, kept: "Embeddings", texts: Sequence[str]) -> None:
        if not texts:
            return
        self.family.tell_what_is_cut(texts)
        with self._encoders_here():
            for text in texts:  # alone: what is kept doesn't depend on the others
                kept.keep(text, *self.family.encode([text]))

    @contextmanager
    def _encoders_here(self) -> Iterator[None]:
        self._bring(self.device)
        try:
            yield
        finally:
            self._bring(HOME)

    def _bring(self, device: torch.device) -> None:
        for encoder in self.text_encoders:
            encoder.to(device)

    def _embeddings(self) -> "Embeddings":
        """Those that are kept for the device on which the policy lies."""
        kind = self.device.type
        if kind not in self._kept:
            parts = self.pipeline.components
            told = {n: v for n, v in self.pipeline.config.items() if not n.startswith("_")}
            name = Blobs.key(
                self.family.name, self.family.sides, kind, told, {**versions(), "diffusers": version("diffusers")}, [fingerprint(e) for e in self.text_encoders],
                [_words(parts[n]) for n in sorted(parts) if hasattr(parts[n], "get_vocab")]).hex()  # fmt: skip
            self._kept[kind] = Embeddings(self.folder or cache_folder() / "prompts", name)
        return self._kept[kind]

    def freeze(self, which: str = "base") -> FrozenPolicy:
        if which in ("base", "now"):
            return super().freeze(which)
        made = type(self).load(which, device=self.device, dtype=self.dtype, size=self.family.sides)
        made.folder = self.folder
        return FrozenPolicy(made)

    def _twin(self) -> "EncodedOnce":
        plain = super()._twin()
        twin = type(self)(plain.pipeline, self.name, plain.image_adapter, size=self.family.sides).requires_grad_(False)
        twin.folder, twin._kept = self.folder, dict(self._kept)
        return twin


class Embeddings(Blobs):
    """What prompts become, as safetensors on disk and nowhere else: megabytes each in large pipelines."""

    def has(self, text: str) -> bool:
        with self._open() as db:
            return db.execute("select 1 from blobs where key = ?", (self.key(text),)).fetchone() is not None

    def of(self, text: str) -> Condition:
        """On the CPU."""
        found = load(self.get([self.key(text)])[self.key(text)])
        self._memory.clear()
        return Condition(found)

    def keep(self, text: str, condition: Condition) -> None:
        self.put({self.key(text): save({n: x.cpu().contiguous() for n, x in condition.tensors.items()})})
        self._memory.clear()


def _words(tokenizer: Any) -> str:
    """A hash of what a tokenizer makes of text: without how it pads, which a call may change."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    told = (
        tokenizer.get_vocab()
        if backend is None
        else {**json.loads(backend.to_str()), "truncation": None, "padding": None}
    )
    rest = (type(tokenizer).__name__, tokenizer.model_max_length, tokenizer.padding_side, tokenizer.chat_template, tokenizer.special_tokens_map)  # fmt: skip
    return hashlib.blake2b(json.dumps([told, rest], sort_keys=True, default=str).encode(), digest_size=16).hexdigest()
