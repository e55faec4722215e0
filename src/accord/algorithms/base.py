"""What the algorithms here have in common: one policy that trains, perhaps a reference that it is compared with."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from accord.algorithms.options import Told
from accord.algorithms.reference import Reference
from accord.engine import Learner, Rows, Seeds, Step
from accord.engine.batch import Batch
from accord.feedback import prompt_of
from accord.losses import LogProbs
from accord.policies import capabilities
from accord.policies.base import Group
from accord.policies.capabilities import Freezes


@dataclass(frozen=True)
class Given(Batch):
    """Offline records as groups of completions.

    Attributes:
        draw: what the policy's likelihood looks at, where it is not exact: one draw a group, the reference's as well.
        reference: the reference's log-probs of each completion, and by_step: of its steps, where a loss asks for them.
        options: of the loss, those that the records themselves hold.
    """

    rows: Rows
    groups: list[Group]
    draw: Any = None
    reference: Float[Tensor, "g k"] | None = None
    by_step: Float[Tensor, "g k t"] | None = None
    options: dict[str, Float[Tensor, "g *k"]] = field(default_factory=dict)


class PolicyAlgorithm(Told, Learner):
    """Trains one policy on data that are their own experience; subclasses say what the loss is.

    What they need of a policy, the annotation of their argument `policy` says, a protocol of `accord.policies.capabilities`;
    their signature (`help`, the command line) shows the options of their base class beside their own.

    Args:
        draw: where the policy's likelihood looks, if not where the policy says: (policy, groups, seed) to a draw.

    Raises:
        ConfigError: the policy can't do what the algorithm needs; or an option is none of its, whose name here is told.
    """

    rows: tuple[type, ...] = ()
    """The records it learns from; any, if empty."""

    reference: Reference | None

    def __init__(self, policy: Freezes, draw: Callable[[Any, list[Group], int | Seeds], Any] | None = None) -> None:
        super().__init__()
        capabilities.check(policy, self.capability(), type(self).__name__)
        self.policy: Any = policy
        self.reference = None
        self._draw = draw or (lambda policy, groups, seed: policy.draw(groups, seed))

    @property
    def needs_reference(self) -> bool:
        """Whether, as it is set, it compares the policy with a reference."""
        return False

    @classmethod
    def capability(cls) -> Any:
        """What it needs of its policy."""
        policy = inspect.signature(cls).parameters.get("policy")
        return Any if policy is None else policy.annotation

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def drawn(self, groups: list[Group], step: Step, *where: int) -> Any:
        """The policy's draw for this step."""
        return self._draw(self.policy, groups, step.seeds(len(groups), *where, purpose="draw"))

    def given(self, rows: Rows, groups: list[Group], step: Step, *where: int, **more: Any) -> Given:
        """Records as experience: the draw at which their likelihood is to be taken, and the reference's log-probs there."""
        draw = self.drawn(groups, step, *where)
        if self.reference is None:
            return Given(rows, groups, draw, **more)
        known = self.reference(groups, draw, step)
        steps = None if known.per_step is None or not self.reference.by_step else known.per_step
        by_step = None if steps is None else steps.reshape(len(groups), -1, steps.shape[-1])
        return Given(rows, groups, draw, known.policy.reshape(len(groups), -1), by_step, **more)

    def likelihood(self, given: Given) -> LogProbs:
        """Log-probs of all completions, group by group; with the reference's, where there is one."""
        found = self.policy.likelihood(given.groups, given.draw)
        if given.reference is None:
            return found
        steps = None
        if (
            given.by_step is not None and found.per_step is not None
        ):  # of some rows, whose longest may not be among them
            steps = given.by_step.flatten(0, 1)[:, : found.per_step.shape[-1]]
        return found.with_reference(given.reference.flatten(), steps)

    def group(self, row: Any) -> Group:
        """A row's prompt, with those of its completions that the policy will be asked about; none where it samples its own."""
        return Group(prompt_of(row), ())

    def check(self, rows: Sequence[Any]) -> None:
        """Refuse rows that the policy can't take; see `Trunk.check`."""
        if hasattr(self.policy, "check"):
            self.policy.check([self.group(r) for r in rows])

    def state(self) -> dict[str, Tensor]:
        return self.reference.state() if self.reference else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        if self.reference:
            self.reference.load_state(state)
