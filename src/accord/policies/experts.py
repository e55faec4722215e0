"""Several adapters on one base: experts that share all weights but their own few, one of them on at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from accord.engine.run import new_folder
from accord.engine.seeds import seeded
from accord.errors import ConfigError
from accord.policies.adapters import Lora, lora_config
from accord.policies.fused import lean
from accord.policies.trunk import Trunk


class Experts:
    """New LoRAs by name on a trunk, whose weights are frozen. Of a reward model each has a head of its own too, which begins as the
    trunk's. All begin as the trunk itself, and the trunk stays itself wherever none of them is `on`.

    Args:
        trunk: without adapters. names: of the experts. lora: rank, or a peft LoraConfig, of each.
        task: "SEQ_CLS" for reward models, "CAUSAL_LM" for policies. seed: of first weights.

    Raises:
        ConfigError: no names, or one twice; or the trunk has adapters.
    """

    def __init__(
        self, trunk: Trunk, names: Sequence[str], lora: Lora = 8, *, task: str = "SEQ_CLS", seed: int = 0
    ) -> None:
        from peft import get_peft_model

        if not names or len(set(names)) < len(names) or any("." in n for n in names):
            raise ConfigError(f"experts want names, each once and without a dot, but got {list(names)}")
        if trunk.adapted:
            raise ConfigError(f"{trunk.name} has adapters already: merge them first (merge)")
        self.trunk, self.names = trunk, tuple(names)
        config = lora_config(lora, trunk.name, targets="all-linear", task_type=task)
        config.task_type = task
        for name in names:
            with seeded(seed, purpose=f"expert {name}"):
                if trunk.adapted:
                    trunk.model.add_adapter(name, lora_config(config, trunk.name, targets="all-linear"))
                else:
                    trunk.model = get_peft_model(trunk.model, config, adapter_name=name).eval()
        self._off()
        lean(trunk.model)

    @contextmanager
    def on(self, name: str, *, train: bool = False) -> Iterator[nn.Module]:
        """The trunk as this expert; outside it is itself, and nobody's weights train.

        Args:
            train: whether its weights want gradients.
        """
        self.trunk.model.enable_adapter_layers()
        self.trunk.model.set_adapter(name, inference_mode=not train)
        try:
            yield self.trunk
        finally:
            self._off()

    def _off(self) -> None:
        self.trunk.model.disable_adapter_layers()
        self.trunk.model.requires_grad_(False)

    def save(self, folder: str | Path) -> None:
        """Write each expert to FOLDER/NAME, as peft opens it over the trunk's own weights."""
        with new_folder(Path(folder)) as part:
            self.trunk.model.save_pretrained(str(part))
