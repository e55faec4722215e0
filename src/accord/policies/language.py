"""Language models as policies: any HF causal LM, with or without LoRA, whole or frozen."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.elsewhere import filled
from accord.engine.batch import Batch
from accord.engine.seeds import Seeds
from accord.errors import ConfigError
from accord.losses import LogProbs
from accord.policies.adapters import Lora
from accord.policies.base import Group, Prompt, Rollouts, Sampling
from accord.policies.engines import Engine
from accord.policies.examine import Head, examine
from accord.policies.frozen import FrozenPolicy
from accord.policies.generate import Drawn, Way, generate
from accord.policies.head import token_logprobs
from accord.policies.loading import brings_adapter, load_model, name_of
from accord.policies.meter import count
from accord.policies.placement import Device, Dtype, device_of, dtype_of
from accord.policies.tokenise import Tokeniser
from accord.policies.tree import TokenTree
from accord.policies.trunk import Trunk, spread
from accord.policies.turns import Environment, converse


@dataclass(frozen=True)
class TokenActions(Batch):
    """The payload of language rollouts: ids as they were sampled, never re-tokenised."""

    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]


class LanguagePolicy(Trunk):
    """A causal language model as a policy: what it samples, how likely it finds what was sampled or given.

    Attributes:
        head: how its class makes logits of hidden states; None leaves it to the class.
        start: its adapter's weights as they were loaded, for the reference; None for a new adapter, which begins as nothing.
        engine: a server that samples in its place; see `accord.policies.engines`.

    Raises:
        ModelError: accord can't train this class.
    """

    sampling_kind = Sampling
    head: Head | None = Head()
    start: dict[str, Tensor] | None = None
    engine: Engine | None = None
    sampling_way: Way = "shared"

    def __init__(self, model: Any, tokeniser: Tokeniser, name: str) -> None:
        super().__init__(model, tokeniser, name)
        examine(self)
        if self.adapted:
            self.start = copied(self.adapter_weights())

    @classmethod
    def load(cls, source: Any, *, tokenizer: Any = None, lora: Lora | None = None, dtype: Dtype = "auto", device: Device = "auto",
             gradient_checkpointing: bool = False, seed: int = 0) -> "LanguagePolicy":  # fmt: skip
        """Load a policy.

        Args:
            source: hub name, model folder, PEFT adapter folder (of `save`: it trains on), or a .gguf file; or a transformers or
                peft model that is loaded already, which becomes the policy's own.
            tokenizer: one that is loaded already; None takes the source's own.
            lora: rank of new LoRA adapters on all linear layers, or a peft LoraConfig; None trains every weight. Over an
                adapter folder, that adapter is merged into the weights below the new one.
            dtype: of the weights; "auto" as `dtype_of` has it. Log-probs are float32 whatever it is.
            device: "auto" is this process's accelerator, or the CPU.
            seed: of new adapters' first weights.

        Raises:
            ModelError: there is no such model, its tokeniser can't be used, or accord can't train its class.
        """
        place = device_of(device)
        whole = lora is None and not brings_adapter(source)
        model, tokeniser = load_model(
            source, tokenizer=tokenizer, dtype=dtype_of(dtype, place, trains=whole), seed=seed
        )
        policy = cls(model, tokeniser, name_of(source))
        if lora is not None:
            policy.add_lora(lora, "CAUSAL_LM", seed)
            policy.start = None
        if gradient_checkpointing:
            policy.checkpoint_activations()
        return policy.to(place)

    @torch.no_grad()
    def sample(self, prompts: Sequence[Prompt], n: int = 1, sampling: Sampling | Mapping[str, Any] = Sampling(), *, seed: int | Seeds = 0,
               context: dict[str, list[Any]] | None = None, env: Environment | None = None, begun: Sequence[str] | None = None,
               turns: int = 8) -> Rollouts:  # fmt: skip
        """Draw n completions of each prompt; a row's draws depend on (seed, row) alone, not on its neighbours.

        Args:
            context: columns aligned with the prompts, repeated for their completions.
            env: answers a turn that ended, and the policy goes on; `sampling` is that of each turn. turns: of the policy at most.
            begun: how the completions of each prompt begin. What is begun and what the environment says stands in the
                completions, outside their masks.

        Returns:
            Rollouts of len(prompts) * n episodes, those of one prompt together.
        """
        if not prompts:
            raise ConfigError("sample() wants at least one prompt")
        sampling = filled(self.sampling_kind(), sampling, "sampling")
        if env is not None or begun is not None:
            return converse(
                self, prompts, n, sampling, seed=seed, context=context or {}, env=env, begun=begun, turns=turns
            )
        prompt_ids = [self.prompt_ids(p) for p in prompts]
        drawn = self.continued(prompt_ids, n, sampling, seed)
        repeat = [i for i in range(len(prompts)) for _ in range(n)]
        rollouts = Rollouts(
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
        return rollouts if self.engine is None else self.read_again(rollouts)

    def continued(self, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, seed: int | Seeds) -> Drawn:
        """n continuations of each of these ids, by the policy itself or by its engine."""
        if self.engine is not None:
            self.engine.follow(self)
            return self.engine.draw(prompts, n, sampling, seed=seed, ends=self.tokeniser.ends)
        return generate(self.core, prompts, n, sampling, seed=seed, eos=self.tokeniser.ends, pad=self.tokeniser.pad,
                        decode=self.tokeniser.decode, context=self.context, way=self.sampling_way)  # fmt: skip

    @torch.no_grad()
    def read_again(self, rollouts: Rollouts) -> Rollouts:
        """What an engine drew with this policy's own log-probs; the engine's are kept as `behaviour`."""
        own = self.logprobs(rollouts).cpu()
        told = torch.where(rollouts.logprobs.isnan(), own, rollouts.logprobs).masked_fill(~rollouts.mask, 0.0)
        return replace(rollouts, logprobs=own, behaviour=told)

    def logprobs(self, rollouts: Rollouts) -> Float[Tensor, "n t"]:
        """``log pi(a_t|s_t)`` of the sampled tokens, with grad, at the sampled temperature; 0 outside the mask."""
        tree, order = self.rollout_tree(rollouts)
        steps = self.score_tree(tree, temperature=rollouts.sampling.temperature or 1.0)
        out = torch.zeros(rollouts.mask.shape, device=steps.device)
        out[torch.tensor(order, device=out.device), : steps.shape[1]] = steps
        return out.masked_fill(~rollouts.mask.to(out.device), 0.0)

    def steps_of(self, rollouts: Rollouts, spans: Sequence[Sequence[tuple[int, int, float]]]) -> Float[Tensor, "n t"]:
        """Values of pieces of each completion (first character, the one after the last, value), each at the token that ends it."""
        out = torch.zeros(rollouts.mask.shape)
        for i, (ids, pieces) in enumerate(zip(rollouts.actions.completion_ids, spans, strict=True)):
            for at, (_, _, value) in zip(
                self.tokeniser.ends_of(ids, [stop for _, stop, _ in pieces]), pieces, strict=True
            ):
                out[i, at] += value
        return out

    def draw(self, groups: Sequence[Group], seed: int | Seeds) -> None:
        """Nothing: this likelihood is exact."""

    def likelihood(self, groups: Sequence[Group], draw: Any = None) -> LogProbs:
        """``log pi(y|x)`` of every completion, group by group, each prompt computed once. Exact: `draw` has no part."""
        steps = self.score_tree(tree := self.tree(groups))
        length = (tree.index >= 0).sum(-1).to(steps.device, torch.float32)
        return LogProbs(policy=steps.sum(-1), length=length, per_step=steps)

    def keys(self, groups: Sequence[Group]) -> list[list[Any]]:
        """What the likelihood of each completion depends on beside the weights: its ids after its prompt's."""
        return [[[prompt, answer] for answer in answers] for prompt, answers in map(self.ids, groups)]

    def score_tree(self, tree: TokenTree, temperature: float = 1.0) -> Float[Tensor, "n t"]:
        """Log-probs of a tree's completions step by step (0 beyond each one's end)."""
        linear, target = self.core.get_output_embeddings(), tree.target.to(self.device)
        if self.head is not None and isinstance(linear, nn.Linear):
            hidden = self.hidden(tree)[tree.source.to(self.device)]
            flat = token_logprobs(hidden, linear.weight, target, bias=linear.bias, temperature=temperature,
                                  scale=self.head.scale, softcap=self.head.softcap)  # fmt: skip
        else:
            logits = self.own_logits(tree).float() / temperature
            flat = logits.log_softmax(-1).gather(-1, target[:, None])[:, 0]
        return spread(flat, tree.index)

    def own_logits(self, tree: TokenTree) -> Float[Tensor, "r v"]:
        """Logits for a tree's scored tokens as the class itself makes them."""
        count(self.core, len(tree), backward=torch.is_grad_enabled())
        source = tree.source.to(self.device)
        with self.recomputing():
            if self.packs:
                return self.core(**self.packed(tree), logits_to_keep=source).logits[0]
            return self.padded(tree, lambda **rows: self.core(**rows).logits)[source]

    def without_adapter(self) -> Any:
        """A context in which the weights under the adapters are in use."""
        return self.model.disable_adapter()

    def weights(self, *, adapter: bool = True) -> nn.Module:
        """The module whose weights make this policy what it is."""
        return self.model if adapter else self.core

    def adapter_weights(self) -> dict[str, nn.Parameter]:
        """The weights of the adapter that is in use, by name."""
        return {n: p for n, p in self.named_parameters() if p.requires_grad}

    def freeze(self, which: str = "base") -> "FrozenPolicy":
        """A frozen twin.

        Args:
            which: "base", the policy as it began: its loaded adapter's first weights, or the weights under a new one (a copy
                of the weights as they are, where there is no adapter: freeze before you train); "now", a copy; or the path
                of a saved policy.
        """
        if which not in ("base", "now"):
            return FrozenPolicy(LanguagePolicy.load(which, device=self.device).requires_grad_(False))
        if not self.adapted:
            return FrozenPolicy(copy.deepcopy(self).requires_grad_(False))
        if which == "now":
            return FrozenPolicy(self, weights=copied(self.adapter_weights()))
        return FrozenPolicy(self, weights=self.start, adapter_off=self.start is None)


def copied(weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {k: p.detach().clone() for k, p in weights.items()}
