"""The forward pass under every language policy, reward model and critic: hidden states of a tree of tokens."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from accord.errors import ConfigError
from accord.policies.attention import NAME
from accord.policies.base import Group, Rollouts
from accord.policies.fused import lean
from accord.policies.meter import count
from accord.policies.tokenise import Tokeniser
from accord.policies.tree import TokenTree

if TYPE_CHECKING:
    from peft import LoraConfig

    Lora = int | LoraConfig
else:
    Lora = int | Any  # peft costs 140 MB and a second: it is imported where an adapter is made or read

log = logging.getLogger(__name__)


class Trunk(nn.Module):
    """A transformers model with its tokeniser, and one way through it.

    `hidden` packs trees where the architecture allows it and pads rows elsewhere.
    """

    def __init__(self, model: Any, tokeniser: Tokeniser, name: str) -> None:
        super().__init__()
        self.model: Any = model
        self.tokeniser = tokeniser
        self.name = name
        self.packs = self.config._attn_implementation == NAME
        if not self.packs:
            log.warning("%s: architecture %s takes the padded path (tree attention is tested for others only)",
                        name, self.config.model_type)  # fmt: skip

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

    def add_lora(self, lora: Lora, task: str) -> None:
        """Freeze the weights and put new adapters on all linear layers."""
        from peft import LoraConfig, get_peft_model

        if not isinstance(lora, LoraConfig):
            if lora < 1:
                raise ConfigError(f"lora is a rank, at least 1, but got {lora} (leave it out to train every weight)")
            lora = LoraConfig(r=lora, lora_alpha=2 * lora, target_modules="all-linear", task_type=task)
        self.model = get_peft_model(self.model, lora)
        lean(self.model)

    def checkpoint_activations(self) -> None:
        """Keep one hidden state a layer instead of all activations: less memory, a third more compute."""
        self.core.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def tree(self, groups: Sequence[Group]) -> TokenTree:
        """Prompts and their completions as ids, each prompt once."""
        t = self.tokeniser
        return TokenTree.pack(
            [(t.prompt(g.prompt), [t.completion(g.prompt, c) for c in g.completions]) for g in groups]
        )

    def hidden(self, tree: TokenTree) -> Float[Tensor, "s d"]:
        """Last hidden states of a tree's tokens, in its order."""
        count(self.core, len(tree), backward=torch.is_grad_enabled())
        if not self.packs:
            return self._hidden_padded(tree)
        return self.backbone(
            input_ids=tree.tokens[None].to(self.device),
            position_ids=tree.positions[None].to(self.device),
            # Four dimensions: transformers takes it for a ready mask and builds none; the tree says who sees whom.
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.device),
            use_cache=False,
            tree=tree,
        ).last_hidden_state[0]

    def step_states(self, rollouts: Rollouts) -> Float[Tensor, "n t d"]:
        """The hidden state before each sampled token (what a value head reads), zero outside the mask."""
        tree, order = self.rollout_tree(rollouts)
        flat = self.hidden(tree)[tree.source.to(self.device)]
        out = flat.new_zeros(*rollouts.mask.shape, flat.shape[-1])
        out[torch.tensor(order), : tree.index.shape[1]] = spread(flat, tree.index)
        return out

    def rollout_tree(self, rollouts: Rollouts) -> tuple[TokenTree, list[int]]:
        """The episodes as trees, one for each group; and which episode each completion of the tree is."""
        order = sorted(range(len(rollouts)), key=lambda i: int(rollouts.group[i]))
        groups: dict[int, tuple[list[int], list[list[int]]]] = {}
        for i in order:
            prompt = rollouts.actions.prompt_ids[i]
            groups.setdefault(int(rollouts.group[i]), (prompt, []))[1].append(rollouts.actions.completion_ids[i])
        return TokenTree.pack(list(groups.values())), order

    def _hidden_padded(self, tree: TokenTree) -> Float[Tensor, "s d"]:
        """The same by ordinary padded rows, one for each completion."""
        paths = [self._path(tree, leaf) for leaf in tree.leaves]
        pad = nn.utils.rnn.pad_sequence
        rows = pad([tree.tokens[p] for p in paths], batch_first=True, padding_value=self.tokeniser.pad)
        mask = pad([torch.ones(len(p), dtype=torch.long) for p in paths], batch_first=True)
        out = self.backbone(input_ids=rows.to(self.device), attention_mask=mask.to(self.device), use_cache=False)
        states = out.last_hidden_state.new_zeros(len(tree), out.last_hidden_state.shape[-1])
        # A shared token stands in several rows; its state is taken from the first, or its gradient would count twice.
        index = torch.cat(paths)
        first = torch.full((len(tree),), len(index)).scatter_reduce(0, index, torch.arange(len(index)), "amin")
        first = first[first < len(index)].to(self.device)
        flat = out.last_hidden_state[mask.bool().to(self.device)]
        return states.index_put((index.to(self.device)[first],), flat[first])

    @staticmethod
    def _path(tree: TokenTree, leaf: int) -> Int[Tensor, "l"]:
        path = [tree.nodes[i] for i in tree.nodes[leaf].path]
        return torch.cat([torch.arange(n.start, n.stop) for n in path])

    def save(self, folder: str | Path) -> None:
        """Write the adapter (or the whole model) with its tokeniser, as transformers and peft load them."""
        self.model.save_pretrained(str(folder))
        self.tokeniser.inner.save_pretrained(folder)

    def merge(self) -> None:
        """Fold the adapters into the weights; from then on this is a plain model."""
        if self.adapted:
            self.model = self.model.merge_and_unload()


def spread(flat: Float[Tensor, "r *d"], index: Int[Tensor, "n t"]) -> Float[Tensor, "n t *d"]:
    """Scored tokens into rows of steps, zero beyond each row's end."""
    index = index.to(flat.device)
    if not len(flat):
        return flat.new_zeros(*index.shape, *flat.shape[1:])
    rows = flat[index.clamp(min=0)]
    blank = (index < 0).reshape(*index.shape, *[1] * (flat.ndim - 1))
    return rows.masked_fill(blank, 0.0)
