"""Several adapters on one base: experts that share all weights but their own few, one of them on at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from accord.engine.run import load_tensors, new_folder, read_json
from accord.engine.seeds import seeded
from accord.errors import ConfigError, ModelError
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

        if not names or len(set(names)) < len(names) or any(set(n) & set("./") or n == "default" for n in names):
            raise ConfigError(f"experts want names, each once, without dots and slashes, and none called default, but got {list(names)}")  # fmt: skip
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
        """None of them: not when the trunk computes, nor where it is saved with its adapters merged in."""
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils import AuxiliaryTrainingWrapper

        self.trunk.model.disable_adapter_layers()
        for module in self.trunk.model.modules():
            if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
                module.set_adapter([])
        self.trunk.model.requires_grad_(False)

    def save(self, folder: str | Path) -> None:
        """Write each expert to FOLDER/NAME, as peft opens it over the trunk's own weights."""
        with new_folder(Path(folder)) as part:
            self.trunk.model.save_pretrained(str(part))

    @classmethod
    def load(cls, trunk: Trunk, folder: str | Path, names: Sequence[str]) -> "Experts":
        """Put those that `save` wrote on a trunk, which should be the one on which they stood.

        Raises:
            RunError: one is not there, or damaged. ModelError: it does not fit the trunk.
        """
        from peft import LoraConfig, set_peft_model_state_dict

        places = {name: Path(folder) / name for name in names}
        for place in places.values():
            read_json(place / "adapter_config.json", mend="copy the folder whole, or save the experts again")
        config = LoraConfig.from_pretrained(str(places[names[0]]), inference_mode=False)
        config.base_model_name_or_path = None
        experts = cls(trunk, names, config, task=str(config.task_type))
        for name, place in places.items():
            weights = load_tensors(place / "adapter_model.safetensors")
            try:
                found: Any = set_peft_model_state_dict(trunk.model, weights, adapter_name=name)
            except RuntimeError as error:
                raise ModelError(f"the expert {place} doesn't fit {trunk.name}: {str(error).splitlines()[-1].strip()}") from error  # fmt: skip
            if lost := [k for k in (*found.unexpected_keys, *found.missing_keys) if f".{name}" in k]:
                raise ModelError(f"the expert {place} doesn't fit {trunk.name}: {lost[0]} is no weight of both")
        return experts
