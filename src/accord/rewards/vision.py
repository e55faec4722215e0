"""Frozen features of answers to prompts with pictures, by any vision-language model of transformers."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from accord.engine.store import Store
from accord.errors import FeedbackError, ModelError
from accord.feedback import Prompt, picture_key, pictures_of, prompt_key, text_of_completion
from accord.policies.configured import configuration
from accord.policies.placement import Device, Dtype, device_of, dtype_of
from accord.rewards.features import Weights, precision_of
from accord.rewards.pictures.files import opened


class VisionLanguageFeatures:
    """The last hidden state at an answer's last token. A prompt is read once, its pictures with it, for all its answers.

    Args:
        model: an `AutoModelForImageTextToText`, which is frozen. processor: its `AutoProcessor`, with a chat template.
        folder: where the table is kept between runs; None keeps it in memory.
    """

    def __init__(self, model: Any, processor: Any, folder: Any = None) -> None:
        self.model, self.processor = model.requires_grad_(False).eval(), processor
        self.width: int = model.config.get_text_config().hidden_size
        self._weights = Weights(model)
        self._store = Store(folder, "features")

    @property
    def fingerprint(self) -> str:
        """Of the model and of how its processor shows it pictures and words, as they are now."""
        told = self.processor.to_dict(), self.processor.chat_template
        return Store.key(self._weights.fingerprint, configuration(self.model), told).hex()

    @property
    def source(self) -> dict[str, Any] | None:
        """The model's name, and the precision in which it lies here; nothing of one that was made here."""
        name = self.model.name_or_path
        return {"sees": name, "dtype": precision_of(self.model)} if name else None

    @classmethod
    def load(
        cls, source: str, folder: Any = None, *, device: Device = "auto", dtype: Dtype = "auto"
    ) -> "VisionLanguageFeatures":
        """From the hub or a folder.

        Raises:
            ModelError: it is no vision-language model, or nothing says how it is shown pictures in a chat.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        place = device_of(device)
        model: Any = opened("a vision-language model", source, lambda: AutoModelForImageTextToText.from_pretrained(
            source, dtype=dtype_of(dtype, place)))  # fmt: skip
        processor: Any = opened("a processor", source, lambda: AutoProcessor.from_pretrained(source))
        if not hasattr(processor, "image_processor") or not processor.chat_template:
            raise ModelError(
                f"{source} has no processor with a chat template that shows pictures: take a model with one"
            )
        return cls(model.to(place), processor, folder)

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> Float[Tensor, "n d"]:
        samples = list(zip(prompts, completions, strict=True))
        now = self.fingerprint
        keys = [Store.key(now, prompt_key(p), _files(p), picture_key(c)) for p, c in samples]
        known = self._store.get(keys)
        todo: dict[str, dict[bytes, tuple[Prompt, Any]]] = {}
        for key, (prompt, answer) in zip(keys, samples, strict=True):
            if key not in known:
                todo.setdefault(prompt_key(prompt), {})[key] = prompt, answer
        for rows in todo.values():
            prompt = next(iter(rows.values()))[0]
            fresh = dict(zip(rows, self._of(prompt, [text_of_completion(a) for _, a in rows.values()]), strict=True))
            self._store.put(fresh)
            known |= fresh
        return torch.stack([known[k] for k in keys]) if keys else torch.zeros(0, self.width)

    @torch.no_grad()
    def _of(self, prompt: Prompt, answers: Sequence[str]) -> Float[Tensor, "n d"]:
        """Features of all answers to a prompt: they go on from what was kept of it."""
        tokenizer, device = self.processor.tokenizer, self.model.device
        inputs = self.processor.apply_chat_template([_shown(prompt)], add_generation_prompt=True, tokenize=True, return_dict=True,
                                                    return_tensors="pt").to(device)  # fmt: skip
        inputs = {k: v.to(self.model.dtype) if v.is_floating_point() else v for k, v in inputs.items()}
        ids = [
            torch.tensor([*tokenizer(a, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id])
            for a in answers
        ]
        rows = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=tokenizer.eos_token_id).to(device)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(r) for r in ids], batch_first=True).to(device)
        before = self.model.model(**inputs, use_cache=True).past_key_values
        before.batch_repeat_interleave(len(answers))
        seen = inputs["attention_mask"].expand(len(answers), -1)
        states = self.model.model(
            input_ids=rows, attention_mask=torch.cat([seen, mask], 1), past_key_values=before
        ).last_hidden_state
        return states[torch.arange(len(rows), device=device), mask.sum(1) - 1].float().cpu()


def _files(prompt: Prompt) -> list[str]:
    """What the files of its pictures hold, of which a key would know the names alone."""
    return [hashlib.blake2b(_read(p)).hexdigest() for p in pictures_of(prompt) if isinstance(p, str)]


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise FeedbackError(f"can't read the picture {file} of a prompt: {error.strerror}; its path counts from where the command runs") from error  # fmt: skip


def _shown(prompt: Prompt) -> list[dict[str, Any]]:
    """Messages with their pictures as PIL's, which every processor takes."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
    return [{**turn, "content": _parts(turn["content"])} for turn in prompt]


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [
        {**part, "image": _picture(part["image"])} if part.get("type") == "image" else dict(part) for part in content
    ]


def _picture(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Image.fromarray((value.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
    if isinstance(value, Mapping) or value is None:
        raise FeedbackError(f"a picture in a prompt is a path, a PIL picture or a tensor, not {value!r:.40}")
    try:
        return Image.open(value).convert("RGB") if isinstance(value, str) else value
    except OSError as error:
        raise FeedbackError(f"can't read the picture {value} of a prompt: it is damaged, or no picture") from error
