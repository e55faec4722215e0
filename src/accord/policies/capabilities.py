"""What a method may need of a policy, each as a protocol: constructors name one, and refuse a policy that lacks it in one line.

The first line of a protocol's docstring finishes the sentence "wants a policy that …".
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import get_protocol_members, is_protocol

from accord.engine.seeds import Seeds
from accord.errors import ConfigError
from accord.losses import LogProbs
from accord.policies.base import Group, Prompt, Rollouts


class Freezes(Protocol):
    """makes frozen twins of itself"""

    def freeze(self, which: str = "base") -> Any: ...


class Samples(Freezes, Protocol):
    """draws completions and gives the log-probs of what it drew"""

    @property
    def sampling_kind(self) -> Any: ...
    def sample(self, prompts: Sequence[Prompt], n: int = 1, sampling: Any = ..., *, seed: int | Seeds = 0,
               context: dict[str, list[Any]] | None = None) -> Rollouts: ...  # fmt: skip
    def logprobs(self, rollouts: Rollouts) -> Float[Tensor, "n t"]: ...


class Likelihood(Freezes, Protocol):
    """says how likely it finds completions that it is given"""

    def draw(self, groups: Sequence[Group], seed: int | Seeds) -> Any: ...
    def likelihood(self, groups: Sequence[Group], draw: Any = None) -> LogProbs: ...


class States(Protocol):
    """shows the hidden states before its steps"""

    @property
    def core(self) -> Any: ...
    @property
    def device(self) -> Any: ...
    def step_states(self, rollouts: Rollouts) -> Float[Tensor, "n t d"]: ...


class SamplesWithStates(Samples, States, Protocol):
    """draws completions and shows the hidden states before its steps, for a critic to read"""


class Differentiable(Samples, Likelihood, Protocol):
    """makes pictures by denoising, with gradient through its steps"""

    def schedule(self, steps: int) -> Any: ...
    def denoise_with_grad(self, prompts: Sequence[Prompt], sampling: Any = ...) -> Float[Tensor, "n 3 H W"]: ...


class Denoises(Protocol):
    """says what is noise in a latent, and draws noise of its own"""

    def noise(
        self, rows: int, seed: int | Seeds | Sequence[int], *where: int, purpose: str = "noise"
    ) -> Float[Tensor, "n c h w"]: ...
    def predict(self, x: Float[Tensor, "n c h w"], timestep: Float[Tensor, "n"] | float, condition: Any,
                guidance: float = 1.0) -> Float[Tensor, "n c h w"]: ...  # fmt: skip
    def parameters(self) -> Iterator[nn.Parameter]: ...


class Inverts(Denoises, Protocol):
    """can be followed from a picture back to the noise that it came from"""

    @property
    def pipeline(self) -> Any: ...
    @property
    def pictures(self) -> Any: ...
    def schedule(self, steps: int | Sequence[float]) -> Any: ...
    def condition(self, prompts: Sequence[Prompt]) -> Any: ...


class Attends(Inverts, Protocol):
    """lets its attention be seen and changed while it denoises"""

    @property
    def denoiser(self) -> Any: ...


def lacking(policy: Any, capability: Any) -> list[str]:
    """Which members of a capability a policy, or a class of policies, has not; none for what is no protocol."""
    if not is_protocol(capability):
        return []
    return sorted(n for n in get_protocol_members(capability) if not hasattr(policy, n))


def check(policy: Any, capability: Any, who: str) -> None:
    """Refuse a policy, or a class of policies before one is loaded, that can't do what is needed of it.

    Args:
        capability: a protocol of this file. who: needs it.

    Raises:
        ConfigError: names what is needed, and which policy lacks it.
    """
    if lacking(policy, capability):
        kind = policy if isinstance(policy, type) else type(policy)
        made = "" if hasattr(kind, "freeze") else " (accord.LanguagePolicy.load and accord.DiffusionPolicy.load make a policy of a model, a pipeline or a name)"  # fmt: skip
        raise ConfigError(
            f"{who} wants a policy that {(capability.__doc__ or '').strip()}: a {kind.__name__} does not{made}"
        )
