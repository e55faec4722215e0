"""What the algorithms here have in common: one policy that trains, no state of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from accord.engine import Learner, Rows, Seeds, Step
from accord.feedback import Record
from accord.policies.base import Group


@dataclass(frozen=True)
class Given:
    """Offline records as groups of completions.

    Attributes:
        draw: what the policy's likelihood looks at, where it is not exact: one draw a group, the reference's as well.
        reference: the reference's log-probs of each completion.
    """

    rows: Rows
    groups: list[Group]
    draw: Any = None
    reference: Float[Tensor, "g k"] | None = None

    def __len__(self) -> int:
        return len(self.groups)

    def select(self, rows: Sequence[int]) -> "Given":
        reference = None if self.reference is None else self.reference[list(rows)]
        draw = None if self.draw is None else self.draw.select(rows)
        return Given(self.rows.select(rows), [self.groups[i] for i in rows], draw, reference)


class PolicyAlgorithm(Learner):
    """Trains one policy on data that are their own experience; subclasses say what the loss is.

    Args:
        draw: where the policy's likelihood looks, if not where the policy says: (policy, groups, seed) to a draw.
    """

    rows: tuple[type, ...] = ()
    """The records it learns from; any, if empty."""

    def __init__(self, policy: Any, draw: Callable[[Any, list[Group], int | Seeds], Any] | None = None) -> None:
        super().__init__()
        self.policy = policy
        self._draw = draw or (lambda policy, groups, seed: policy.draw(groups, seed))

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def drawn(self, groups: list[Group], step: Step) -> Any:
        """The policy's draw for this step."""
        return self._draw(self.policy, groups, step.seeds(len(groups), purpose="draw"))

    def group(self, row: Any) -> Group:
        """A row's prompt, with those of its completions that the policy will be asked about; none where it samples its own."""
        return Group(row.prompt if isinstance(row, Record) else row, ())

    def check(self, rows: Sequence[Any]) -> None:
        """Refuse rows that the policy can't take; see `Trunk.check`."""
        if hasattr(self.policy, "check"):
            self.policy.check([self.group(r) for r in rows])
