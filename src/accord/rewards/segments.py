"""A reward model of pieces: what is wrong with each, read where it ends."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForTokenClassification

from accord.engine import Learner, Loss, Mean, Rows, fit
from accord.engine.run import added_to
from accord.errors import ConfigError, FeedbackError, ModelError
from accord.feedback import Marked, Prompt, text_of_completion
from accord.policies.adapters import Lora
from accord.policies.base import Group
from accord.policies.loading import load_model, resolve
from accord.policies.placement import Device, Dtype, device_of, dtype_of
from accord.policies.tokenise import Tokeniser
from accord.policies.trunk import Trunk
from accord.rewards.classifier import fresh_head, group_up
from accord.rewards.pieces import Pieces, sentences
from accord.rewards.scores import Scores, Span

NOTHING = "nothing wrong"


class SegmentClassifier(Trunk):
    """What is wrong with each piece of an answer, one of several labels, read at the piece's last token; as a reward, 1 for a piece with
    nothing wrong and -1 for any other (Wu et al. 2023, arXiv 2306.01693). Saved as an `AutoModelForTokenClassification`.

    Args:
        labels: of the model's outputs; the first says that nothing is wrong.
        pieces: how answers are cut. worth: of each label. expected: the mean worth under its probabilities, in place of the likeliest's.
    """

    def __init__(self, model: Any, tokeniser: Tokeniser, name: str = "segments", labels: Sequence[str] = (NOTHING, "wrong"), *,
                 pieces: Pieces = sentences, worth: Mapping[str, float] | None = None, expected: bool = False) -> None:  # fmt: skip
        super().__init__(model, tokeniser, name)
        self.labels, self.pieces, self.expected = tuple(labels), pieces, expected
        odd = sorted(set(worth or {}) - set(labels))
        if odd:
            raise ConfigError(f"worth is given for {odd[0]!r}, but the labels are {', '.join(labels)}")
        self.worth = {label: 1.0 if i == 0 else -1.0 for i, label in enumerate(labels)} | dict(worth or {})

    @classmethod
    def load(cls, source: str | Path, labels: Sequence[str] = (), *, lora: Lora | None = None, dtype: Dtype = "auto", device: Device = "auto",
             seed: int = 0, **more: Any) -> "SegmentClassifier":  # fmt: skip
        """Load a classifier of tokens, or a language model to become one.

        Args:
            labels: what may be wrong; those of a saved one, if left out. lora: rank of new adapters; None trains every weight.
            more: see the class.
        """
        place, saved = device_of(device), _labels(Path(resolve(source)))
        if saved and labels and tuple(labels) != saved[1:]:
            raise ModelError(f"{source} knows the labels {', '.join(saved)}, not {', '.join(labels)}")
        if not saved and not labels:
            raise ConfigError(f"{source} is a language model: say what can be wrong (labels=…)")
        names = saved or (NOTHING, *labels)
        model, tokeniser = load_model(source, dtype=dtype_of(dtype, place, trains=lora is None), seed=seed, auto_class=AutoModelForTokenClassification,
                                      num_labels=len(names), id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})  # fmt: skip
        if not saved:
            fresh_head(model, tokeniser)
        made = cls(model, tokeniser, str(source), names, **more)
        if lora is not None:
            made.add_lora(lora, "TOKEN_CLS", seed)
        return made.to(place)

    @classmethod
    def fit(
        cls, records: Sequence[Marked], model: "str | Path | SegmentClassifier", **training: Any
    ) -> "SegmentClassifier":
        """Train on marked completions; a piece has the label of the mark that covers most of it.

        Args:
            model: what to start from; a language model gets the labels that the records have. training: options of `Training`.
        """
        names = sorted({label for r in records for _, _, label in r.spans})
        made = model if isinstance(model, SegmentClassifier) else cls.load(model, names)
        fit(SegmentFitting(made), list(records), **training)
        return made

    def logits(self, groups: Sequence[Group]) -> list[Float[Tensor, "p k"]]:
        """Of the labels of each completion's pieces, group by group."""
        tree = self.tree(groups)
        ids = [a for g in groups for a in self.ids(g)[1]]
        texts = [text_of_completion(c) for g in groups for c in g.completions]
        ends = [self.tokeniser.ends_of(row, [b for _, b in self.pieces(t)]) for row, t in zip(ids, texts, strict=True)]
        first = [tree.nodes[leaf].start for leaf in tree.leaves]
        at = torch.tensor(
            [f + e for f, own in zip(first, ends, strict=True) for e in own], dtype=torch.long, device=self.device
        )
        head: Any = self.core.score
        return list(head(self.hidden(tree)[at]).float().split([len(e) for e in ends]))

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], group: Sequence[int] | None = None, **columns: Any) -> Scores:  # fmt: skip
        """Values of pieces; their sum is that of the whole. An empty answer has none."""
        groups, order = group_up(prompts, completions, group)
        found = [x.cpu() for i in range(0, len(groups), 8) for x in self.logits(groups[i : i + 8])]
        worth = torch.tensor([self.worth[label] for label in self.labels])
        spans: list[list[Span]] = [[] for _ in completions]
        for i, logits in zip(order, found, strict=True):
            each = logits.softmax(-1) @ worth if self.expected else worth[logits.argmax(-1)]
            cut = self.pieces(text_of_completion(completions[i]))
            spans[i] = [Span(a, b, float(v)) for (a, b), v in zip(cut, each, strict=True)]
        return Scores.of(torch.tensor([float(sum(s.value for s in own)) for own in spans]), spans=spans)

    def save(self, folder: str | Path) -> None:
        """Write a plain model folder (adapters merged in) that `AutoModelForTokenClassification` loads."""
        model = copy.deepcopy(self.model).merge_and_unload() if self.adapted else self.model
        with added_to(Path(folder)) as part:
            model.save_pretrained(part)
            self.tokeniser.inner.save_pretrained(part)


class SegmentFitting(Learner):
    """Cross-entropy of each piece's label: the fine-grained reward models' loss (Wu et al. 2023, arXiv 2306.01693)."""

    rows = (Marked,)

    def __init__(self, reward: SegmentClassifier) -> None:
        super().__init__()
        self.reward = reward

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"reward": self.reward}

    def check(self, rows: Sequence[Marked]) -> None:
        for i, row in enumerate(rows, 1):
            odd = sorted({label for _, _, label in row.spans} - set(self.reward.labels))
            if odd:
                raise FeedbackError(f"record {i} marks {odd[0]!r}, but the model knows {', '.join(self.reward.labels)}")
        self.reward.check([Group(r.prompt, (r.completion,)) for r in rows])

    def forward(self, rows: Rows) -> Loss:
        logits = torch.cat(self.reward.logits([Group(r.prompt, (r.completion,)) for r in rows]))
        wanted = torch.cat([labels_of(r, self.reward.pieces(r.completion), self.reward.labels) for r in rows]).to(
            logits.device
        )
        each = cross_entropy(logits, wanted, reduction="none")
        return Loss(each.sum(), float(len(each)), {"accuracy": Mean.of((logits.argmax(-1) == wanted).float())})


def labels_of(row: Marked, pieces: Sequence[tuple[int, int]], labels: Sequence[str]) -> Int[Tensor, "p"]:
    """The label of each piece: that of the mark that covers most of its characters, the first where none does."""
    found = []
    for a, b in pieces:
        covered = [
            (min(b, stop) - max(a, start), label) for start, stop, label in row.spans if min(b, stop) > max(a, start)
        ]
        found.append(labels.index(max(covered)[1]) if covered else 0)
    return torch.tensor(found, dtype=torch.long)


def _labels(path: Path) -> tuple[str, ...]:
    """Those of a saved classifier of tokens; none where there is another model."""
    try:
        config = AutoConfig.from_pretrained(str(path))
    except (OSError, ValueError):
        return ()
    if not any("TokenClassification" in a for a in config.architectures or ()):
        return ()
    return tuple(config.id2label[i] for i in sorted(config.id2label))
