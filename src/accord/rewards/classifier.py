"""Reward models with a sequence-classification head, as transformers, TRL and vLLM read them."""

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from accord.elsewhere import filled
from accord.engine import Run
from accord.engine.run import added_to
from accord.engine.store import fingerprint
from accord.errors import ModelError
from accord.feedback import Prompt
from accord.policies.adapters import Lora, adapter_of
from accord.policies.base import Group
from accord.policies.loading import brings_adapter, load_model, name_of, resolve
from accord.policies.placement import Device, Dtype, device_of, dtype_of
from accord.policies.tokenise import Tokeniser
from accord.policies.tree import TokenTree
from accord.policies.trunk import Trunk
from accord.rewards.card import write_card
from accord.rewards.fitting import FitOptions, RewardFitting, fit_reward
from accord.rewards.scores import Scores

log = logging.getLogger(__name__)


class BradleyTerry(Trunk):
    """A reward model: a scalar (or one number for each named aspect) read at the last token, where transformers reads it.

    Any `AutoModelForSequenceClassification` loads, and adapters of such (as peft and TRL save them); a causal LM gets a fresh
    head. Where the architecture packs, a prompt is computed once for all its completions.
    """

    whole_answers = True

    def __init__(self, model: Any, tokeniser: Tokeniser, name: str = "reward", aspects: Sequence[str] = ()) -> None:
        super().__init__(model, tokeniser, name)
        self.aspects = tuple(aspects)
        self.encodes = not hasattr(self.core, "score") or not self._reads_as_its_class()
        if not self.packs and not self.encodes:
            log.warning(
                "%s: %s takes padded rows (tree attention is tested for others only)", name, type(self.core).__name__
            )

    @classmethod
    def load(cls, source: Any, *, tokenizer: Any = None, aspects: Sequence[str] = (), lora: Lora | None = None, dtype: Dtype = "auto",
             device: Device = "auto", gradient_checkpointing: bool = False, seed: int = 0) -> "BradleyTerry":  # fmt: skip
        """Load a reward model, or a language model to become one.

        Args:
            source: hub name, folder, adapter folder or .gguf file; or a transformers or peft model that is loaded already, which
                becomes the reward's own.
            tokenizer: one that is loaded already; None takes the source's own.
            aspects: names of the outputs, for a model that rates several; none for one scalar.
            lora: rank of new adapters; None trains every weight.
            dtype, device: as for `LanguagePolicy.load`. seed: of new weights.
        """
        adapter, outputs, place = brings_adapter(source), _outputs(source), device_of(device)
        name, labels = name_of(source), outputs or len(aspects) or 1
        if outputs and aspects and outputs != len(aspects):
            raise ModelError(
                f"{name} has {outputs} outputs, but {len(aspects)} aspects are named: {', '.join(aspects)}"
            )
        model, tokeniser = load_model(source, tokenizer=tokenizer, dtype=dtype_of(dtype, place, trains=lora is None and not adapter),
                                      seed=seed, auto_class=AutoModelForSequenceClassification, num_labels=labels)  # fmt: skip
        if not outputs:
            if adapter:  # of a language model: it goes below the new head
                model = model.merge_and_unload()
            model = _with_head(model, labels)
            fresh_head(model, tokeniser)
        reward = cls(model, tokeniser, name, aspects or _named(model))
        if lora is not None:
            reward.add_lora(lora, "SEQ_CLS", seed)
        if gradient_checkpointing:
            reward.checkpoint_activations()
        return reward.to(place)

    @classmethod
    def fit(cls, records: Sequence[Any], model: Any, *, out: str | Path | None = None,
            lora: Lora | None = None, options: FitOptions | dict[str, Any] | None = None, **training: Any) -> "BradleyTerry":  # fmt: skip
        """Train on comparisons, rankings or ratings (by Bradley-Terry, Plackett-Luce, regression respectively).

        Args:
            records: `Feedback` or a list of records.
            model: what to start from: a reward, or whatever `load` takes.
            out: folder of the run.
            training: options of `Training` by name.
        """
        reward = model if isinstance(model, BradleyTerry) else cls.load(model, lora=lora)
        reward.run = fit_reward(
            RewardFitting(reward, filled(FitOptions(), options, "options")), records, out=out, **training
        )
        return reward

    run: Run | None = None

    @property
    def has_opinions(self) -> bool:
        """False for a fresh head, under which everything scores 0."""
        return bool(_last_linear(self.core).weight.any())

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.model)

    @torch.no_grad()
    def __call__(self, *, prompts: Sequence[Prompt], completions: Sequence[Any], group: Sequence[int] | None = None,
                 **columns: Any) -> Scores:  # fmt: skip
        """Scores of completions; those of one group must share their prompt.

        Raises:
            ModelError: its head was never trained.
        """
        if not self.has_opinions:
            raise ModelError(f"{self.name} is a language model without a trained reward head: train one first "
                             "(accord reward train), or give a reward model")  # fmt: skip
        groups, order = group_up(prompts, completions, group)
        table = torch.cat([self.values_of(groups[i : i + 8]) for i in range(0, len(groups), 8)])
        values = torch.empty_like(table)
        values[torch.tensor(order, device=table.device)] = table
        return Scores.of(values.mean(-1).cpu(), aspects={a: values[:, i].cpu() for i, a in enumerate(self.aspects)})

    def ids(self, group: Group) -> tuple[list[int], list[list[int]]]:
        """As for a policy; without padding tokens at the end, as transformers reads the head at the last token that is none
        (of a model that pads with its end token: before that)."""
        prompt, answers = super().ids(group)
        return prompt, [_without_pad(a, self.config.get_text_config().pad_token_id) for a in answers]

    @torch.no_grad()
    def _reads_as_its_class(self) -> bool:
        """Whether the head on the last hidden state gives what the class itself does, tried on a few tokens.

        Raises:
            ModelError: the class can't compute.
        """
        ids = [i for i in range(3, 20) if i != self.config.get_text_config().pad_token_id][:5]
        try:
            theirs = self.model(input_ids=torch.tensor([ids], device=self.device)).logits[0].float()
        except Exception as error:  # whatever a class trips over
            raise ModelError(
                f"{self.name}: {type(self.core).__name__} can't score a text: {str(error)[:200]}"
            ) from error
        tree = TokenTree.pack([(ids[:3], [ids[3:]])])
        try:
            head: Any = self.core.score
            ours = head(self.hidden(tree)[tree.last.to(self.device)])[0].float()
        except Exception:  # its inside is built otherwise
            return False
        return bool(torch.allclose(ours, theirs, rtol=0.05, atol=2e-3 if self.core.dtype == torch.float32 else 0.5))

    def values_of(self, groups: Sequence[Group]) -> Float[Tensor, "n a"]:
        """Rewards of every completion, group by group, with gradient."""
        if self.encodes:
            return self._values_encoded(groups)
        tree = self.tree(groups)
        head: Any = self.core.score
        return head(self.hidden(tree)[tree.last.to(self.device)]).float()

    def _values_encoded(self, groups: Sequence[Group]) -> Float[Tensor, "n a"]:
        """Plain calls of the whole model: encoders see both sides of a text, so nothing can be shared."""
        t = self.tokeniser
        texts = [(g.prompt, c) for g in groups for c in g.completions]
        if (
            t.inner.cls_token_id is not None
            and t.inner.sep_token_id is not None
            and all(isinstance(p, str) for p, _ in texts)
        ):
            rows = self._paired([str(p) for p, _ in texts], [c for _, c in texts])
        else:
            rows = [p + a for p, answers in map(self.ids, groups) for a in answers]
        pad = nn.utils.rnn.pad_sequence
        ids = pad([torch.tensor(r) for r in rows], batch_first=True, padding_value=t.pad).to(self.device)
        mask = pad([torch.ones(len(r), dtype=torch.long) for r in rows], batch_first=True).to(self.device)
        return self.model(input_ids=ids, attention_mask=mask).logits.float()

    def _paired(self, prompts: list[str], answers: list[str]) -> list[list[int]]:
        """Prompt and answer as encoders were taught pairs; what exceeds the window is cut, and said."""
        inner = self.tokeniser.inner
        window = min(inner.model_max_length, self.context or inner.model_max_length)
        rows = inner(prompts, answers)["input_ids"]
        long = sum(len(r) > window for r in rows)
        if not long:
            return rows
        log.warning("%s: %d of %d texts are longer than its %d tokens and were cut", self.name, long, len(rows), window)
        return inner(prompts, answers, truncation=True, max_length=window)["input_ids"]

    def save(self, folder: str | Path) -> None:
        """Write a plain model folder (adapters merged in) that `AutoModelForSequenceClassification` loads."""
        model = copy.deepcopy(self.model).merge_and_unload() if self.adapted else self.model
        with added_to(Path(folder)) as part:
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


def _outputs(source: Any) -> int:
    """How many numbers a reward model (or a reward adapter's head) gives; 0 where there is no head yet."""
    if not isinstance(source, str | Path):
        core = getattr(source, "get_base_model", lambda: source)()
        return core.config.num_labels if "SequenceClassification" in type(core).__name__ else 0
    path = Path(resolve(source))
    if (adapter := adapter_of(path)) is not None:
        if adapter.get("task_type") != "SEQ_CLS":
            return 0
        heads = [
            s
            for n, s in _shapes(path / "adapter_model.safetensors")
            if n.endswith(("score.weight", "classifier.weight", "out_proj.weight"))
        ]
        return heads[-1][0] if heads else 0
    try:
        config = AutoConfig.from_pretrained(str(path))
    except (OSError, ValueError):
        return 0
    return config.num_labels if any("SequenceClassification" in a for a in config.architectures or ()) else 0


def _shapes(file: Path) -> list[tuple[str, list[int]]]:
    """Names and shapes of a file's tensors."""
    try:
        with safe_open(file, "pt") as tensors:
            return [(n, tensors.get_slice(n).get_shape()) for n in tensors.keys()]  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} can't be read: {error}") from error


def _with_head(model: Any, labels: int) -> Any:
    """A loaded language model's trunk under a classifier's head; what is a classifier already stays as it is."""
    if "SequenceClassification" in type(model).__name__:
        return model
    config = copy.deepcopy(model.config)
    config.num_labels = labels
    made = AutoModelForSequenceClassification.from_config(config, attn_implementation=model.config._attn_implementation)
    setattr(made, made.base_model_prefix, model.base_model)
    return made.to(model.device, model.dtype).eval()


def fresh_head(model: Any, tokeniser: Tokeniser) -> None:
    """A head of zeros (a random one would begin with random, large opinions), and a padding token apart from the end token:
    transformers reads at the last token that isn't padding."""
    last = _last_linear(model)
    for p in last.parameters():
        nn.init.zeros_(p)
    inner = tokeniser.inner
    if inner.pad_token_id == tokeniser.eos:
        others = [
            t for t in (inner.unk_token, inner.bos_token, *inner.all_special_tokens) if t and t != inner.eos_token
        ]
        if others:
            inner.pad_token = others[0]
        else:
            inner.add_special_tokens({"pad_token": "<|pad|>"})
            if len(inner) > model.get_input_embeddings().weight.shape[0]:
                model.resize_token_embeddings(len(inner), mean_resizing=False)
    model.config.pad_token_id = inner.pad_token_id


def _last_linear(model: Any) -> nn.Linear:
    """The layer that gives a classifier's outputs."""
    return [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == model.config.num_labels][-1]


def _without_pad(ids: list[int], pad: int | None) -> list[int]:
    end = len(ids)
    while end and ids[end - 1] == pad:
        end -= 1
    return ids[:end]


def _named(model: Any) -> tuple[str, ...]:
    labels = model.config.id2label
    return tuple(labels[i] for i in sorted(labels)) if len(labels) > 1 else ()
