"""Language models as policies: any HF causal LM, with or without LoRA, whole or frozen."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.errors import ConfigError, ModelError
from accord.losses import LogProbs
from accord.policies.base import Group, Prompt, Rollouts, Sampling
from accord.policies.frozen import FrozenPolicy
from accord.policies.generate import generate
from accord.policies.head import token_logprobs
from accord.policies.loading import load_model
from accord.policies.tree import TokenTree
from accord.policies.trunk import Lora, Trunk, spread


@dataclass(frozen=True)
class TokenActions:
    """The payload of language rollouts: ids as they were sampled, never re-tokenised."""

    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]

    def select(self, rows: Sequence[int]) -> "TokenActions":
        return TokenActions([self.prompt_ids[i] for i in rows], [self.completion_ids[i] for i in rows])

    def extend(self, other: "TokenActions") -> "TokenActions":
        return TokenActions(self.prompt_ids + other.prompt_ids, self.completion_ids + other.completion_ids)


class LanguagePolicy(Trunk):
    """A causal language model as a policy: what it samples, how likely it finds what was sampled or given."""

    sampling_kind = Sampling

    @classmethod
    def load(cls, source: str | Path, *, lora: Lora | None = None, dtype: torch.dtype = torch.float32,
             device: str | torch.device = "cpu", gradient_checkpointing: bool = False) -> "LanguagePolicy":  # fmt: skip
        """Load a policy.

        Args:
            source: hub name, model folder, PEFT adapter folder (of `save`), or a .gguf file.
            lora: rank of new LoRA adapters on all linear layers, or a peft LoraConfig; None trains every weight.
            dtype: of the weights; log-probs are float32 whatever it is.

        Raises:
            ModelError: there is no such model, or its tokeniser can't be used.
        """
        policy = cls(*load_model(source, dtype=dtype, device=device), str(source))
        if lora is not None:
            policy.add_lora(lora, "CAUSAL_LM")
        if gradient_checkpointing:
            policy.checkpoint_activations()
        return policy

    def eos_ids(self) -> set[int]:
        """Every token that ends a completion: the tokeniser's and those the model's generation config names."""
        configured = getattr(self.core.generation_config, "eos_token_id", None) or []
        return {self.tokeniser.eos, *([configured] if isinstance(configured, int) else configured)}

    @torch.no_grad()
    def sample(self, prompts: Sequence[Prompt], n: int = 1, sampling: Sampling = Sampling(), *, seed: int = 0,
               context: dict[str, list[Any]] | None = None) -> Rollouts:  # fmt: skip
        """Draw n completions of each prompt; a row's draws depend on (seed, row) alone, not on its neighbours.

        Args:
            context: columns aligned with the prompts, repeated for their completions.

        Returns:
            Rollouts of len(prompts) * n episodes, those of one prompt together.
        """
        if not prompts:
            raise ConfigError("sample() wants at least one prompt")
        prompt_ids = [self.tokeniser.prompt(p) for p in prompts]
        was_training = self.training
        self.eval()
        try:
            drawn = generate(self.core, prompt_ids, n, sampling, seed=seed, eos=self.eos_ids(),
                             pad=self.tokeniser.pad, decode=self.tokeniser.decode)  # fmt: skip
        finally:
            self.train(was_training)
        repeat = [i for i in range(len(prompts)) for _ in range(n)]
        return Rollouts(
            prompts=list(prompts),
            group=torch.tensor(repeat),
            completions=[self.tokeniser.decode(ids) for ids in drawn.ids],
            mask=drawn.mask,
            logprobs=drawn.logprobs,
            finished=drawn.finished,
            actions=TokenActions([prompt_ids[i] for i in repeat], drawn.ids),
            sampling=sampling,
            context={k: [v[i] for i in repeat] for k, v in (context or {}).items()},
        )

    def logprobs(self, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        """``log pi(a_t|s_t)`` of the sampled tokens, with grad, at the sampled temperature; 0 outside the mask."""
        tree, order = self.rollout_tree(rollouts)
        steps = self.score_tree(tree, temperature=rollouts.sampling.temperature or 1.0)
        out = torch.zeros(rollouts.mask.shape, device=steps.device)
        out[torch.tensor(order), : steps.shape[1]] = steps
        return out.masked_fill(~rollouts.mask.to(out.device), 0.0)

    def draw(self, groups: Sequence[Group], seed: int) -> None:
        """Nothing: this likelihood is exact."""

    def likelihood(self, groups: Sequence[Group], draw: Any = None) -> LogProbs:
        """``log pi(y|x)`` of every completion, group by group, each prompt computed once. Exact: `draw` has no part."""
        steps = self.score_tree(tree := self.tree(groups))
        length = (tree.index >= 0).sum(-1).to(steps.device, torch.float32)
        return LogProbs(policy=steps.sum(-1), length=length, per_step=steps)

    def score_tree(self, tree: TokenTree, temperature: float = 1.0) -> Float[Tensor, "n t"]:
        """Log-probs of a tree's completions step by step (0 beyond each one's end)."""
        core = self.core
        hidden = self.hidden(tree)[tree.source.to(self.device)]
        head = core.get_output_embeddings()
        if not isinstance(head, nn.Linear):
            raise ModelError(f"{self.name}: its output head is a {type(head).__name__}; leave the head out of LoRA")
        flat = token_logprobs(hidden, head.weight, tree.target.to(self.device), bias=head.bias,
                              temperature=temperature, softcap=getattr(core.config, "final_logit_softcapping", None))  # fmt: skip
        return spread(flat, tree.index)

    def without_adapter(self) -> Any:
        """A context in which the weights under the adapters are in use."""
        return self.model.disable_adapter()

    def weights(self, *, adapter: bool = True) -> nn.Module:
        """The module whose weights make this policy what it is."""
        return self.model if adapter else self.core

    def freeze(self, which: str = "base") -> "FrozenPolicy":
        """A frozen twin.

        Args:
            which: "base", the model before training (adapters switched off where there are any, else a copy of the
                weights as they are: freeze before you train); "now", a copy; or the path of a saved policy.
        """
        if which == "base" and self.adapted:
            return FrozenPolicy(self, adapter_off=True)
        if which in ("base", "now"):
            return FrozenPolicy(copy.deepcopy(self).requires_grad_(False).eval())
        return FrozenPolicy(LanguagePolicy.load(which, device=self.device).requires_grad_(False).eval())
