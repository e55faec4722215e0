"""What the algorithms here have in common: one policy that trains, no state of their own."""

from typing import Any

from torch import Tensor, nn

from accord.engine import Rows, Step


class PolicyAlgorithm(nn.Module):
    """Trains one policy on data that are their own experience; subclasses say what the loss is."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    @property
    def trainables(self) -> dict[str, nn.Module]:
        return {"policy": self.policy}

    def experience(self, batch: Rows, step: Step) -> Any:
        return batch

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        pass
