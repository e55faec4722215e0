"""What a prompt costs, paid once: embeddings on disk, text encoders off the device."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from accord.engine.processes import failing_together, on_main, wait_for_all
from accord.engine.run import versions
from accord.engine.store import Blobs, cache_folder, fingerprint
from accord.engine.waiting import watched
from accord.feedback import text_of
from accord.policies.base import Prompt
from accord.policies.configured import configuration
from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.policy import DiffusionPolicy
from accord.policies.frozen import FrozenPolicy
from accord.policies.placement import Aside

HOME = torch.device("cpu")

PART = 16
"""Prompts that are written together: megabytes each in large pipelines."""


class EncodedOnce(DiffusionPolicy):
    """A `DiffusionPolicy` that keeps on disk what its prompts become, and its text encoders on the CPU.

    Known prompts are read. For others the encoders come to the policy's device, and leave again: call `ahead` with all
    that will be asked, so that they come but once. Embeddings are those of a `DiffusionPolicy` that meets a prompt alone, to the bit. There is a file
    for each set of text encoders (weights, settings and how they attend), tokenizers, size of pictures, device by its name, precision of products, and
    versions of the libraries.

    Attributes:
        folder: of these files; None is prompts/ in accord's cache.
    """

    folder: str | Path | None = None

    def __init__(self, pipeline: Any, *args: Any, **options: Any) -> None:
        super().__init__(pipeline, *args, **options)
        self._kept: dict[tuple[str, ...], Embeddings] = {}
        self._told: set[str] = set()
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

    def ahead(self, prompts: Iterable[Prompt]) -> Self:
        """Encode these prompts, and the blank one of guidance, where they are not known yet; the policy itself.

        Of several processes all have to call it: the first one encodes, the others what then isn't where they look.
        """
        texts = sorted({self.family.blank, *map(text_of, prompts)})
        with failing_together():
            if on_main():
                self._known(texts)
        wait_for_all()
        if not on_main():
            self._told.update(texts)
            self._known(texts)
        return self

    @torch.no_grad()
    def condition(self, prompts: Sequence[Prompt]) -> Condition:
        """As `DiffusionPolicy.condition`."""
        new = sorted({text_of(p) for p in prompts} - self._conditions.keys())
        if new:
            kept = self._known(new)
            self._conditions |= {t: kept.of(t).to(self.device) for t in new}
        return super().condition(prompts)

    @torch.no_grad()
    def _known(self, texts: Sequence[str]) -> "Embeddings":
        """Embeddings among which these are. What is cut is told once of each, kept or not."""
        self.family.tell_what_is_cut([t for t in texts if t not in self._told])
        self._told.update(texts)
        kept = self._embeddings()
        if todo := kept.lacking(texts):
            with self._encoders_here():
                # Alone: what is kept doesn't depend on the others.
                made = ((t, self.family.encode([t])[0]) for t in todo)
                ahead = watched(made, len(todo), "encoding prompts")
                while some := dict(islice(ahead, PART)):
                    kept.keep(some)
        return kept

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
        device = self.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        place = name, torch.get_float32_matmul_precision()
        if place not in self._kept:
            parts = self.pipeline.components
            told = {n: v for n, v in self.pipeline.config.items() if not n.startswith("_")}
            key = Blobs.key(
                self.family.name, self.family.sides, place, told, {**versions(), "diffusers": version("diffusers")},
                [(fingerprint(e), configuration(e)) for e in self.text_encoders],
                [_words(parts[n]) for n in sorted(parts) if hasattr(parts[n], "get_vocab")]).hex()  # fmt: skip
            self._kept[place] = Embeddings(self.folder or cache_folder() / "prompts", key)
        return self._kept[place]

    def freeze(self, which: str = "base") -> FrozenPolicy:
        if which in ("base", "now"):
            return super().freeze(which)
        made = type(self).load(which, device=self.device, dtype=self.dtype, size=self.family.sides)
        made.folder = self.folder
        return FrozenPolicy(made)

    def _twin(self) -> "EncodedOnce":
        plain = super()._twin()
        twin = type(self)(plain.pipeline, self.name, plain.image_adapter, size=self.family.sides).requires_grad_(False)
        twin.folder, twin._kept, twin._told = self.folder, dict(self._kept), self._told
        return twin


class Embeddings(Blobs):
    """What prompts become, as safetensors on disk and nowhere else: megabytes each in large pipelines."""

    def lacking(self, texts: Iterable[str]) -> list[str]:
        """Those that are not kept, in their order."""
        with self._open() as db:
            ask = "select 1 from blobs where key = ?"
            return [t for t in texts if db.execute(ask, (self.key(t),)).fetchone() is None]

    def of(self, text: str) -> Condition:
        """On the CPU."""
        found = load(self.get([self.key(text)])[self.key(text)])
        self._memory.clear()
        return Condition(found)

    def keep(self, conditions: Mapping[str, Condition]) -> None:
        """All of them, or none where it is stopped."""
        self.put({self.key(t): save({n: x.cpu().contiguous() for n, x in c.tensors.items()}) for t, c in conditions.items()})  # fmt: skip
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
