"""Text in pictures: is it written there as it was asked for?"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, VisionEncoderDecoderModel

from accord.errors import ModelError, RewardError
from accord.feedback import text_of, with_picture
from accord.policies.diffusion import as_picture
from accord.policies.placement import Device, Dtype, beside
from accord.rewards.asking import Asked, Endpoint
from accord.rewards.pictures.files import opened, placed, pretrained, tokenizer_of
from accord.rewards.pictures.preprocessing import Preprocessing
from accord.rewards.pictures.reward import seen
from accord.rewards.scores import Scores

Reader = Callable[[Sequence[Float[Tensor, "3 h w"]]], Sequence[str]]
"""What is written in each of several pictures."""

QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|「([^」]+)」')
READ = "Which text is written in this picture? Answer with the text alone, as it stands there, and with nothing if there is none."


class OCRAccuracy:
    """``1 - d / max(|wanted|, |read|)``, d the edit distance between the text that was wanted and the one that is read, without regard to
    case and white space; with `anywhere`, to whatever part of it is nearest. Flow-GRPO's reward (Liu et al. 2025, arXiv 2505.05470) is
    1 where the text is contained, else ``1 - min(d, |wanted|) / |wanted|`` with d to all that is read, of the first quoted text alone.

    What is wanted stands in the prompt in quotes, several of them one after the other, or in a column. A prompt that wants none does not apply.

    Args:
        reader: reads pictures: a function, or the name of a model like TrOCR (Li et al. 2021, arXiv 2109.10282; MIT), which reads one line;
            with a `url`, of one that is asked there.
        url: of a server that speaks OpenAI's chat protocol. column: of the wanted texts; None reads prompts alone, as does a record without one.
        anywhere: compare with the part of what is read that is nearest, and by the wanted text's length alone: ``1 - d / |wanted|``.
        device, dtype: of a model that is loaded.

    Raises:
        ModelError: there is no such model.
    """

    def __init__(self, reader: str | Reader = "microsoft/trocr-base-printed", *, url: str | None = None, column: str | None = None,
                 anywhere: bool = False, device: Device = "auto", dtype: Dtype = "auto") -> None:  # fmt: skip
        if isinstance(reader, str):
            reader = AskedReader(Endpoint(reader, url)) if url else ModelReader(reader, device=device, dtype=dtype)
        self.reader, self.column, self.anywhere = reader, column, anywhere

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        if self.column is not None and self.column not in columns:
            raise RewardError(
                f"the wanted texts are in the column {self.column!r}, but the data have only {sorted(columns)}"
            )
        given = [None] * len(prompts) if self.column is None else columns[self.column]
        asked = [_plain(quoted(text_of(p)) if g is None else str(g)) for p, g in zip(prompts, given, strict=True)]
        said = [str(t) for t in self.reader([as_picture(c) for c in completions])]
        if len(said) != len(asked):
            raise RewardError(f"the reader of text says {len(said)} texts of {len(asked)} pictures")
        values = [self._accuracy(w, _plain(t)) if w else 0.0 for w, t in zip(asked, said, strict=True)]
        return Scores(torch.tensor(values), torch.tensor([bool(w) for w in asked]), answer=said)

    def _accuracy(self, asked: str, read: str) -> float:
        distance = edit_distance(asked, read, anywhere=self.anywhere)
        return 1 - distance / (len(asked) if self.anywhere else max(len(asked), len(read)))


def quoted(prompt: str) -> str:
    """What a prompt has in quotes."""
    return " ".join(next(filter(None, found)) for found in QUOTED.findall(prompt))


def edit_distance(a: str, b: str, *, anywhere: bool = False) -> int:
    """How many characters of a to put in, take out or exchange, so that it becomes b (or any part of b)."""
    row = [0] * (len(b) + 1) if anywhere else list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b):
            row.append(min(before[j] + (x != y), before[j + 1] + 1, row[j] + 1))
    return min(row) if anywhere else row[-1]


def _plain(text: str) -> str:
    return "".join(text.casefold().split())


class ModelReader:
    """A picture encoder with a text decoder, as TrOCR is, from the hub or a folder."""

    def __init__(self, source: str, *, max_tokens: int = 64, device: Device = "auto", dtype: Dtype = "auto") -> None:
        kind = opened("a reader of text", source, lambda: AutoConfig.from_pretrained(source)).model_type
        if kind != "vision-encoder-decoder":
            raise ModelError(
                f"{source} ({kind}) is no model like TrOCR; ask it behind a server instead: url=http://…/v1, or give a function"
            )
        self.network: Any = placed(pretrained(VisionEncoderDecoderModel, source), device, dtype)
        self.tokenizer, self.see, self.max_tokens = tokenizer_of(source), Preprocessing.load(source), max_tokens

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Float[Tensor, "3 h w"]]) -> list[str]:
        images = seen(pictures, self.see, self.network.device)
        network: nn.Module = beside(self.network, images)
        ids = network.generate(
            pixel_values=images.to(self.network.dtype), max_new_tokens=self.max_tokens, do_sample=False
        )  # type: ignore[operator]
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)


class AskedReader:
    """Somebody who can see is asked what is written there."""

    def __init__(self, asked: Asked, question: str = READ) -> None:
        self.asked, self.question = asked, question

    def __call__(self, pictures: Sequence[Float[Tensor, "3 h w"]]) -> list[str]:
        return [said[0] for said in self.asked.write([with_picture(self.question, p) for p in pictures])]
