"""FSDP2: every process keeps a share of the weights, their gradients and moments. The loss is taken on shares, layer by
layer; all else (sampling, references, evaluation, saving) sees an ordinary model with its whole weights.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env
from torch import Tensor, nn

from accord.engine.processes import group, on_main
from accord.errors import ConfigError


def asked_for() -> Any:
    """How accelerate's configuration says to shard, on CPUs too (where accelerate itself leaves it); None if it doesn't.

    Raises:
        ConfigError: it says what accord doesn't do.
    """
    for name in ("DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        if parse_flag_from_env(f"ACCELERATE_USE_{name}"):
            raise ConfigError(
                f"accelerate is set to {name.lower()}: accord trains by DDP (MULTI_GPU, MULTI_CPU) and FSDP2"
            )
    if (mixed := os.environ.get("ACCELERATE_MIXED_PRECISION", "no")) != "no":
        raise ConfigError(f"accelerate is set to mixed_precision {mixed}, under which other numbers would train than sample: set it to "
                          "no, and give dtype=bfloat16 where the policy is loaded")  # fmt: skip
    if not parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return None
    plugin: Any = AcceleratorState._shared_state.get("fsdp_plugin")
    version = plugin.fsdp_version if plugin else int(os.environ.get("FSDP_VERSION", "1"))
    if version != 2:
        raise ConfigError("accelerate is set to the first FSDP: set fsdp_version to 2 (accelerate to-fsdp2 converts a configuration)")  # fmt: skip
    plugin = plugin or FullyShardedDataParallelPlugin()
    for name, told, instead in (
        ("fsdp_offload_params", type(plugin.cpu_offload).__name__ == "CPUOffloadPolicy", "leave it out"),
        ("fsdp_activation_checkpointing", plugin.activation_checkpointing, "give gradient_checkpointing=True instead"),
        ("fsdp_ignored_modules", plugin.ignored_modules, "leave it out"),
        ("fsdp_min_num_params", plugin.min_num_params, "take TRANSFORMER_BASED_WRAP"),
    ):
        if told:
            raise ConfigError(f"accelerate is set to {name}, which accord doesn't do: {instead}")
    return plugin


class _Coat:
    """What sharding puts on a module: another class, hooks, tables of weights, marks. It can be taken off and put on again."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.before = module, (type(module), dict(vars(module)))
        # Hooks and weights go into tables of its own.
        vars(module).update({k: v.copy() for k, v in vars(module).items() if k == "_parameters" or "_hooks" in k})

    def measure(self) -> None:
        """Note what has been put on."""
        kind, own = self.before
        worn = {k: v for k, v in vars(self.module).items() if v is not own.get(k)}
        self.on = (type(self.module), worn)
        self.before = (kind, {k: own[k] for k in worn if k in own})

    def take_off(self) -> None:
        self._change(self.on, self.before)

    def put_on(self) -> None:
        self._change(self.before, self.on)

    def _change(self, off: tuple[type, dict[str, Any]], on: tuple[type, dict[str, Any]]) -> None:
        for name in off[1]:
            del vars(self.module)[name]
        vars(self.module).update(on[1])
        self.module.__class__ = on[0]


class Shards:
    """A module whose weights are shared out; with the coats off it is as it was before, down to the very parameters.

    Args:
        plugin: accelerate's settings. device: where this process computes.
    """

    def __init__(self, module: nn.Module, plugin: Any, device: torch.device) -> None:
        self._coats = [_Coat(m) for m in module.modules()]
        own = _parameters(module)
        for p in own:  # what FSDP asks for: a U-Net may come with its channels last
            p.data = p.data.contiguous()
        _shard(module, plugin, device)
        self._pairs = list({id(p): (p, share) for p, share in zip(own, _parameters(module), strict=True)}.values())
        for coat in self._coats:
            coat.measure()
        self._empty()

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Inside, the module has its whole weights, and is as it was before. All processes must come here; changes are lost."""
        self._open()
        try:
            yield
        finally:
            for coat in self._coats:
                coat.put_on()
            self._empty()

    def join(self) -> None:
        """Leave the module as it was before, with the weights as they are now. All processes must come here."""
        from torch.distributed import _composable_state

        self._open()
        for coat in self._coats:  # torch shards a module once: it has to forget this time
            _composable_state._module_state_mapping.pop(coat.module, None)

    def _open(self) -> None:
        for p, share in self._pairs:
            p.data = whole(share)
        for coat in self._coats:
            coat.take_off()

    def _empty(self) -> None:
        for p, _ in self._pairs:
            p.data = p.data.new_empty(0)


def _parameters(module: nn.Module) -> list[nn.Parameter]:
    return [p for m in module.modules() for p in m._parameters.values() if p is not None]


def _shard(module: nn.Module, plugin: Any, device: torch.device) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (group().num_processes,))
    layers = _layers(module, plugin)
    for m in reversed(list(module.modules())):
        if type(m).__name__ in layers:
            fully_shard(m, mesh=mesh, reshard_after_forward=plugin.reshard_after_forward)
    fully_shard(module, mesh=mesh)


def _layers(module: nn.Module, plugin: Any) -> set[str]:
    """Names of the classes whose modules are put together one at a time: those told, else those that models name."""
    if plugin.auto_wrap_policy is None:
        return set()
    there = {type(m).__name__ for m in module.modules()}
    told = set(plugin.transformer_cls_names_to_wrap or ())
    if told - there:
        raise ConfigError(f"fsdp_transformer_layer_cls_to_wrap names {sorted(told - there)[0]}, but the model has no such layer: leave it out")  # fmt: skip
    return told or {n for m in module.modules() for n in getattr(m, "_no_split_modules", None) or ()} & there


def share_of(x: Tensor, like: Any) -> Tensor:
    """What of a whole tensor belongs here, where one of its kind is kept so; all of it where that isn't shared out."""
    if not hasattr(like, "full_tensor"):
        return x.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    # From this process's own copy: there is nothing to send.
    return distribute_tensor(x.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def whole(x: Any) -> Tensor:
    """All of a tensor that may be shared out, or still to be summed; all processes must ask."""
    return x.detach().full_tensor() if hasattr(x, "full_tensor") else x.detach()


def here(x: Any) -> Tensor:
    """What of a tensor this process has."""
    return x.detach().to_local() if hasattr(x, "to_local") else x.detach()


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All of some tensors, in the first process's memory; all processes must ask, and the others get nothing."""
    found = {}
    for name, x in tensors.items():
        all_of_it = whole(x)
        if on_main():
            found[name] = all_of_it.cpu()
    return found
