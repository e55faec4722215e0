"""Reward models with a sequence-classification head, as transformers, TRL and vLLM read them."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from accord.engine import Run
from accord.engine.run import new_folder
from accord.engine.store import fingerprint
from accord.errors import ModelError
from accord.feedback import Prompt
from accord.policies.base import Group
from accord.policies.loading import load_model
from accord.policies.tokenise import Tokeniser
from accord.policies.trunk import Lora, Trunk
from accord.rewards.card import write_card
from accord.rewards.fitting import FitOptions, RewardFitting, fit_reward
from accord.rewards.scores import Scores


class BradleyTerry(Trunk):
    """A reward model: a scalar (or one number for each named aspect) read at the last token.

    Any `AutoModelForSequenceClassification` loads; a causal LM gets a fresh head. Where the architecture packs, a
    prompt is computed once for all its completions.
    """

    def __init__(self, model: Any, tokeniser: Tokeniser, name: str = "reward", aspects: Sequence[str] = ()) -> None:
        super().__init__(model, tokeniser, name)
        self.aspects = tuple(aspects)

    @classmethod
    def load(cls, source: str | Path, *, aspects: Sequence[str] = (), lora: Lora | None = None,
             dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu",
             gradient_checkpointing: bool = False) -> "BradleyTerry":  # fmt: skip
        """Load a reward model, or a language model to become one.

        Args:
            source: hub name, folder or .gguf file.
            aspects: names of the outputs, for a model that rates several; none for one scalar.
            lora: rank of new adapters; None trains every weight.
        """
        options = {"num_labels": len(aspects)} if aspects else {}
        if not aspects and not _is_classifier(source):
            options = {"num_labels": 1}
        model, tokeniser = load_model(
            source, dtype=dtype, device=device, auto_class=AutoModelForSequenceClassification, **options
        )
        _separate_pad(model, tokeniser)
        reward = cls(model, tokeniser, str(source), aspects or _named(model))
        head: Any = getattr(model, "score", None)
        if not _is_classifier(source) and head is not None:
            nn.init.zeros_(head.weight)  # a random head would begin with random, large opinions
            reward.has_opinions = False
        if lora is not None:
            reward.add_lora(lora, "SEQ_CLS")
        if gradient_checkpointing:
            reward.checkpoint_activations()
        return reward

    @classmethod
    def fit(cls, records: Sequence[Any], model: "str | Path | BradleyTerry", *, out: str | Path | None = None,
            lora: int | None = None, options: FitOptions | None = None, **training: Any) -> "BradleyTerry":  # fmt: skip
        """Train on comparisons, rankings or ratings (by Bradley-Terry, Plackett-Luce, regression respectively).

        Args:
            records: `Feedback` or a list of records.
            model: what to start from.
            out: folder of the run.
            training: options of `Training` by name.
        """
        reward = model if isinstance(model, BradleyTerry) else cls.load(model, lora=lora)
        reward.run = fit_reward(RewardFitting(reward, options or FitOptions()), records, out=out, **training)
        return reward

    run: Run | None = None
    has_opinions = True
    """False for a fresh head, under which everything scores 0."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.model)

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[str], group: Sequence[int] | None = None,
                 **columns: Any) -> Scores:  # fmt: skip
        """Scores of completions; those of one group must share their prompt."""
        was_training = self.training
        self.eval()
        groups, order = group_up(prompts, completions, group)
        table = torch.cat([self.values_of(groups[i : i + 8]) for i in range(0, len(groups), 8)])
        self.train(was_training)
        values = torch.empty_like(table)
        values[torch.tensor(order)] = table
        return Scores.of(values.mean(-1).cpu(), aspects={a: values[:, i].cpu() for i, a in enumerate(self.aspects)})

    def values_of(self, groups: Sequence[Group]) -> Float[Tensor, "n a"]:
        """Rewards of every completion, group by group, with gradient."""
        if not self.packs:
            return self._values_padded(groups)
        tree = self.tree(groups)
        states = self.hidden(tree)[tree.last.to(self.device)]
        head: Any = self.core.score
        return head(states).float()

    def _values_padded(self, groups: Sequence[Group]) -> Float[Tensor, "n a"]:
        """Plain calls of the whole model: encoders see both sides of a text, so nothing can be shared."""
        t = self.tokeniser
        rows = [t.prompt(g.prompt) + t.completion(g.prompt, c) for g in groups for c in g.completions]
        if t.inner.cls_token_id is not None and t.inner.sep_token_id is not None:
            texts = [(g.prompt, c) for g in groups for c in g.completions]
            if all(isinstance(p, str) for p, _ in texts):
                rows = t.inner([p for p, _ in texts], [c for _, c in texts], truncation=True)["input_ids"]
        pad = nn.utils.rnn.pad_sequence
        ids = pad([torch.tensor(r) for r in rows], batch_first=True, padding_value=t.pad).to(self.device)
        mask = pad([torch.ones(len(r), dtype=torch.long) for r in rows], batch_first=True).to(self.device)
        return self.model(input_ids=ids, attention_mask=mask).logits.float()

    def save(self, folder: str | Path) -> None:
        """Write a plain model folder (adapters merged in) that `AutoModelForSequenceClassification` loads."""
        model = copy.deepcopy(self.model).merge_and_unload() if self.adapted else self.model
        with new_folder(Path(folder)) as part:
            model.save_pretrained(part)
            self.tokeniser.inner.save_pretrained(part)
            write_card(part, self.name, self.aspects)


def group_up(prompts: Sequence[Prompt], completions: Sequence[str],
             group: Sequence[int] | None) -> tuple[list[Group], list[int]]:  # fmt: skip
    """Samples as groups that share a prompt, and for each completion in their order the sample it is."""
    ids = list(group) if group is not None else list(range(len(completions)))
    order = sorted(range(len(ids)), key=lambda i: ids[i])
    members: dict[int, list[int]] = {}
    for i in order:
        members.setdefault(ids[i], []).append(i)
    return [Group(prompts[m[0]], tuple(completions[i] for i in m)) for m in members.values()], order


def _is_classifier(source: str | Path) -> bool:
    """Whether a folder or hub model already has a classification head."""
    from transformers import AutoConfig

    from accord.policies.loading import resolve

    try:
        config = AutoConfig.from_pretrained(resolve(source))
    except (OSError, ValueError):
        return False
    return any("SequenceClassification" in a for a in config.architectures or ())


def _named(model: Any) -> tuple[str, ...]:
    labels = model.config.id2label
    return tuple(labels[i] for i in sorted(labels)) if len(labels) > 1 else ()


def _separate_pad(model: Any, tokeniser: Tokeniser) -> None:
    """transformers reads the head at the last token that isn't padding; where padding is EOS it would miss the end."""
    inner = tokeniser.inner
    if inner.pad_token_id == tokeniser.eos:
        others = [
            t for t in (inner.unk_token, inner.bos_token, *inner.all_special_tokens) if t and t != inner.eos_token
        ]
        if not others:
            raise ModelError(f"{tokeniser.name} pads with its end token and has no other special token: set pad_token")
        inner.pad_token = others[0]
    model.config.pad_token_id = inner.pad_token_id
