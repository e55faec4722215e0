"""The forward pass under every language policy, reward model and critic: hidden states of a tree of tokens."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from accord.engine.run import added_to
from accord.engine.seeds import seeded
from accord.errors import FeedbackError, ModelError
from accord.policies.adapters import Factors, Lora, below, lora_config, save_stacked
from accord.policies.attention import NAME
from accord.policies.base import Group, Prompt, Rollouts
from accord.policies.fused import lean
from accord.policies.meter import count
from accord.policies.tokenise import Tokeniser
from accord.policies.tree import TokenTree

log = logging.getLogger(__name__)

LIMITS = ("max_position_embeddings", "max_seq_len", "max_target_positions")
"""What configs call the longest text that a model takes."""


class Trunk(nn.Module):
    """A transformers model with its tokeniser, and one way through it.

    `hidden` packs trees where the architecture allows it and pads rows elsewhere. A trunk always runs as it is used, without
    dropout: log-probs, ratios and scores are of one and the same model.
    """

    whole_answers = False
    """Whether it reads what a template writes after an answer's end token too, as reward models do."""

    def __init__(self, model: Any, tokeniser: Tokeniser, name: str) -> None:
        super().__init__()
        self.model: Any = model
        self.tokeniser = tokeniser
        self.name = name
        self.packs = self.config._attn_implementation == NAME
        self.below: Factors = {}
        self._places = learned_places(self.core, self._named_limit())
        self._recomputed: list[nn.Module] = []
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Never: dropout would part what is trained from what is sampled."""
        return super().train(False)

    @property
    def core(self) -> PreTrainedModel:
        """The transformers model itself, with any adapters in place."""
        model: Any = self.model
        return getattr(model, "get_base_model", lambda: model)()

    @property
    def config(self) -> Any:
        return self.core.config

    @property
    def backbone(self) -> nn.Module:
        return getattr(self.core, self.core.base_model_prefix)

    @property
    def adapted(self) -> bool:
        """Whether peft adapters stand over the weights."""
        return hasattr(self.model, "merge_and_unload")

    @property
    def device(self) -> torch.device:
        return self.core.device

    @property
    def context(self) -> int | None:
        """The longest text it takes, in tokens; None where its config names no limit."""
        return min((n for n in (self._named_limit(), self._places) if n is not None), default=None)

    def _named_limit(self) -> int | None:
        config = self.config.get_text_config()
        found = (getattr(config, name, None) for name in LIMITS)
        return min((n for n in found if isinstance(n, int) and n > 0), default=None)

    def add_lora(self, lora: Lora, task: str, seed: int = 0) -> None:
        """Freeze the weights and put new adapters on all linear layers.

        Args:
            lora: rank, or a peft LoraConfig; see `lora_config`.
            seed: of their first weights, whatever else was drawn in this process.
        """
        from peft import get_peft_model

        config = lora_config(lora, self.name, targets="all-linear", task_type=task)
        if self.adapted:
            self.below, self.model = below(self.model, self.name)
            log.warning(
                "%s is an adapter already: it was merged into the weights below the new one; saved, they are one",
                self.name,
            )
        with seeded(seed, purpose="lora"):
            self.model = get_peft_model(self.model, config).eval()
        lean(self.model)

    def checkpoint_activations(self) -> None:
        """Keep one hidden state a layer instead of all activations: less memory, a third more compute.

        Raises:
            ModelError: the architecture can't.
        """
        try:
            self.core.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        except ValueError as error:
            raise ModelError(f"{self.name}: {type(self.core).__name__} can't recompute its activations") from error
        self._recomputed = [m for m in self.core.modules() if getattr(m, "gradient_checkpointing", False)]
        for module in self._recomputed:  # they will be told that they train, but not to drop anything
            for name in [n for n, v in vars(module).items() if "drop" in n and isinstance(v, float)]:
                setattr(module, name, 0.0)

    @contextmanager
    def recomputing(self) -> Iterator[None]:
        """Inside, a forward pass with gradient recomputes what `checkpoint_activations` asked for: transformers does so in
        layers that train, and only there."""
        layers = self._recomputed if torch.is_grad_enabled() else []
        for layer in layers:
            layer.training = True
        try:
            yield
        finally:
            for layer in layers:
                layer.training = False

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Ids of a prompt that is to be answered.

        Raises:
            FeedbackError: it is longer than the model takes, or leaves no room for an answer.
        """
        ids = self.tokeniser.prompt(prompt)
        self._refuse_beyond(ids, [], room=1)
        return ids

    def ids(self, group: Group) -> tuple[list[int], list[list[int]]]:
        """Ids of a prompt and of its completions.

        Raises:
            FeedbackError: together they are longer than the model takes.
            ModelError: tokeniser and model don't belong together.
        """
        t = self.tokeniser
        prompt = t.prompt(group.prompt)
        answers = [t.completion(group.prompt, c, whole=self.whole_answers) for c in group.completions]
        self._refuse_beyond(prompt, answers)
        return prompt, answers

    def _refuse_beyond(self, prompt: list[int], answers: list[list[int]], room: int = 0) -> None:
        longest = max(map(len, answers), default=room)
        if self.context is not None and len(prompt) + longest > self.context:
            what = f"a prompt of {len(prompt)} tokens" + (f" with an answer of {longest}" if answers else "")
            raise FeedbackError(f"{what} is longer than the {self.context} tokens that {self.name} takes: "
                                f"leave it out (--max-tokens) or shorten it ({self.tokeniser.decode(prompt[:12])!r}…)")  # fmt: skip
        known = len(cast(Tensor, self.core.get_input_embeddings().weight))
        highest = max(max(ids, default=0) for ids in (prompt, *answers))
        if highest >= known:
            raise ModelError(f"{self.tokeniser.name} writes token {highest} ({self.tokeniser.decode([highest])!r}), but {self.name} "
                             f"knows only {known}: they don't belong together (or its embedding wants resizing)")  # fmt: skip

    def check(self, groups: Sequence[Group]) -> None:
        """Refuse what it can't take, before anything is computed.

        Raises:
            FeedbackError: names the record: too long for the model, or lost in its chat template.
        """
        for i, group in enumerate(groups, 1):
            try:
                self.ids(group)
            except FeedbackError as error:
                raise FeedbackError(f"record {i} of {len(groups)}: {error}") from None

    def tree(self, groups: Sequence[Group]) -> TokenTree:
        """Prompts and their completions as ids, each prompt once."""
        return TokenTree.pack([self.ids(g) for g in groups])

    def hidden(self, tree: TokenTree) -> Float[Tensor, "s d"]:
        """Last hidden states of a tree's tokens, in its order."""
        count(self.core, len(tree), backward=torch.is_grad_enabled())
        with self.recomputing():
            if not self.packs:
                return self.padded(tree, lambda **rows: self.backbone(**rows).last_hidden_state)
            return self.backbone(**self.packed(tree)).last_hidden_state[0]

    def packed(self, tree: TokenTree) -> dict[str, Any]:
        """A tree as the arguments of a forward pass."""
        return {
            "input_ids": tree.tokens[None].to(self.device),
            "position_ids": tree.positions[None].to(self.device),
            # Four dimensions: transformers takes it for a ready mask and builds none; the tree says who sees whom.
            "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.device),
            "use_cache": False,
            "tree": tree,
        }

    def step_states(self, rollouts: Rollouts) -> Float[Tensor, "n t d"]:
        """The hidden state before each sampled token (what a value head reads), zero outside the mask."""
        tree, order = self.rollout_tree(rollouts)
        flat = self.hidden(tree)[tree.source.to(self.device)]
        out = flat.new_zeros(*rollouts.mask.shape, flat.shape[-1])
        out[torch.tensor(order, device=out.device), : tree.index.shape[1]] = spread(flat, tree.index)
        return out

    def rollout_tree(self, rollouts: Rollouts) -> tuple[TokenTree, list[int]]:
        """The episodes as trees, one for each group; and which episode each completion of the tree is."""
        order = sorted(range(len(rollouts)), key=lambda i: int(rollouts.group[i]))
        groups: dict[int, tuple[list[int], list[list[int]]]] = {}
        for i in order:
            prompt = rollouts.actions.prompt_ids[i]
            groups.setdefault(int(rollouts.group[i]), (prompt, []))[1].append(rollouts.actions.completion_ids[i])
        return TokenTree.pack(list(groups.values())), order

    def padded(self, tree: TokenTree, call: Callable[..., Float[Tensor, "b l d"]]) -> Float[Tensor, "s d"]:
        """What a call says of each of a tree's tokens, by ordinary padded rows, one for each completion."""
        paths = [self._path(tree, leaf) for leaf in tree.leaves]
        pad = nn.utils.rnn.pad_sequence
        rows = pad([tree.tokens[p] for p in paths], batch_first=True, padding_value=self.tokeniser.pad)
        mask = pad([torch.ones(len(p), dtype=torch.long) for p in paths], batch_first=True)
        out = call(input_ids=rows.to(self.device), attention_mask=mask.to(self.device), use_cache=False)
        states = out.new_zeros(len(tree), out.shape[-1])
        # A shared token stands in several rows; its state is taken from the first, or its gradient would count twice.
        index = torch.cat(paths)
        first = torch.full((len(tree),), len(index)).scatter_reduce(0, index, torch.arange(len(index)), "amin")
        first = first[first < len(index)]
        flat = out[mask.bool().to(self.device)]
        return states.index_put((index[first].to(self.device),), flat[first.to(self.device)])

    @staticmethod
    def _path(tree: TokenTree, leaf: int) -> Int[Tensor, "l"]:
        path = [tree.nodes[i] for i in tree.nodes[leaf].path]
        return torch.cat([torch.arange(n.start, n.stop) for n in path])

    def save(self, folder: str | Path) -> None:
        """Write the adapter (or the whole model) with its tokeniser, as transformers and peft load them.

        An adapter that lay below the new one, merged into the weights, goes into the file with it.
        """
        with added_to(Path(folder)) as part:
            self.model.save_pretrained(str(part))
            if self.below:
                save_stacked(self.model, self.below, part)
            self.tokeniser.inner.save_pretrained(part)

    def merge(self) -> None:
        """Fold the adapters into the weights; from then on this is a plain model."""
        if self.adapted:
            self.model = self.model.merge_and_unload()


def learned_places(core: nn.Module, named: int | None) -> int | None:
    """How many of the positions that a config names have embeddings; None where they are computed."""
    found = []
    for name, module in core.named_modules():
        if isinstance(module, nn.Embedding) and "position" in name.rpartition(".")[2] and named is not None:
            # Some begin behind the padding's place, some at a place of their own. (Pictures' positions are other numbers.)
            begin = module.padding_idx + 1 if module.padding_idx is not None else getattr(module, "offset", 0)
            if named <= module.num_embeddings <= named + begin:
                found.append(module.num_embeddings - begin)
    return min(found, default=None)


def spread(flat: Float[Tensor, "r *d"], index: Int[Tensor, "n t"]) -> Float[Tensor, "n t *d"]:
    """Scored tokens into rows of steps, zero beyond each row's end."""
    index = index.to(flat.device)
    if not len(flat):
        return flat.new_zeros(*index.shape, *flat.shape[1:])
    rows = flat[index.clamp(min=0)]
    blank = (index < 0).reshape(*index.shape, *[1] * (flat.ndim - 1))
    return rows.masked_fill(blank, 0.0)
