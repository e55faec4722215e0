"""Policies as the command line names them: an embedded one, a hub name, a folder, a GGUF file, a pipeline, an adapter, an environment."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from accord.cli.data import quiet_diffusers
from accord.errors import ConfigError, one_of, wanted
from accord.policies import VLLM, Engine, LanguagePolicy, SGLang
from accord.policies.acting import environment
from accord.policies.control import ControlPolicy
from accord.policies.hub import PICTURE_LORA, PIPELINE, folder_of, kind_of
from accord.policies.loading import resolve
from accord.policies.placement import device_of

Size = int | list[int] | None
ENGINES = {"vllm": VLLM, "sglang": SGLang}
EMBEDDED = ("letters", "letters/untrained", "portraits", "portraits/flow", "portraits/consistency", "room")
"""Policies that come with the package."""
BESIDE = "smollm2"
"""A language model that comes with one beside it: see `accord.policies.loading`."""

GYMNASIUM = "gymnasium:"
"""Stands before the id of an environment in which a fresh policy is to act."""


def kind_of_policy(spec: str) -> type:
    """The class of a policy, told from its name and from what lies in its folder; nothing is loaded, nor need it be there."""
    if _acts(spec):
        return ControlPolicy
    if not _of_pictures(spec):
        return LanguagePolicy
    quiet_diffusers()
    from accord.policies.diffusion import DiffusionPolicy

    return DiffusionPolicy


def check_policy(spec: str) -> type:
    """The class of a policy that is there.

    Raises:
        ModelError: there is no such policy.
    """
    kind = kind_of_policy(spec)
    if kind is LanguagePolicy and not _embedded(spec):
        resolve(spec)
    if spec.startswith(GYMNASIUM):
        environment(spec.removeprefix(GYMNASIUM))
    return kind


def open_policy(spec: str, *, lora: Any = None, gradient_checkpointing: bool = False, device: str = "auto",
                dtype: str = "auto", seed: int = 0, size: Size = None, encode_once: bool = False) -> Any:  # fmt: skip
    """The policy of a specification, ready to train or to draw from.

    Args:
        size: of its pictures, where one is given. encode_once: keep on disk what prompts become; see `EncodedOnce`.

    Raises:
        ConfigError: one of these is given for words.
    """
    if _acts(spec):
        wanted(lora is None and size is None and not (encode_once or gradient_checkpointing) and dtype in ("auto", "float32"),
               f"{spec} acts in an environment, and has no adapters, pictures or layers to speak of: leave lora, size, encode_once, gradient_checkpointing and dtype out",
               (lora, size, encode_once, gradient_checkpointing, dtype))  # fmt: skip
        return _actor(spec, device, seed)
    source: Any = spec
    kind: Any = kind_of_policy(spec)
    more: dict[str, Any] = {}
    if _of_pictures(spec):
        source, more = _pipeline(spec), {} if size is None else {"size": size}
        kind = _once() if encode_once else kind
    elif size is not None or encode_once:
        given = "encode_once" if size is None else f"size={size}"
        raise ConfigError(f"{given} is for pictures, but {spec} writes words: leave it out")
    elif _embedded(spec):
        from accord.worlds.letters import WEIGHTS, build_model, build_tokenizer

        source, more = (WEIGHTS, {}) if spec == "letters" else (build_model(0).model, {"tokenizer": build_tokenizer()})
    return kind.load(source, lora=lora, gradient_checkpointing=gradient_checkpointing, device=device, dtype=dtype, seed=seed, **more)  # fmt: skip


def engine_of(spec: str, policy: str, kind: type, *, draws: bool, lora: Any) -> Engine:
    """The server of a specification, vllm:URL or sglang:URL; it isn't asked for anything yet.

    Args:
        policy: its model. draws: whether the method draws from its policy at all. lora: adapters, which are what a server takes.

    Raises:
        ConfigError: there is no such engine, or nothing for it to do.
    """
    name, _, url = spec.partition(":")
    one_of("engine", name, *ENGINES)
    wanted(url.startswith(("http://", "https://")), f"an engine is {name}:http://host:port", spec)
    if kind is not LanguagePolicy or not draws:
        raise ConfigError(f"an engine draws completions, but {'this method draws none' if kind is LanguagePolicy else f'{policy} draws none'}: leave --engine out")  # fmt: skip
    if lora is None:
        raise ConfigError("an engine takes adapters, not whole weights: give --lora RANK")
    return ENGINES[name](url, policy)


def _actor(spec: str, device: str, seed: int) -> ControlPolicy:
    if _embedded(spec):
        from accord.worlds.room import policy

        return policy(seed).to(device_of(device))
    return ControlPolicy.load(spec.removeprefix(GYMNASIUM), device=device, seed=seed)


def _once() -> type:
    from accord.policies.diffusion import EncodedOnce

    return EncodedOnce


def embedded_among(options: Mapping[str, Any], names: Iterable[str], **load: Any) -> dict[str, Any]:
    """Of options that may name a policy, those that name one of the package, frozen: methods themselves know only files and the hub.

    Args:
        names: of such options. load: how; see `open_policy`.
    """
    named = {n: str(options[n]) for n in names if _embedded(str(options.get(n)))}
    return {n: open_policy(spec, **load).freeze("now") for n, spec in named.items()}


def _embedded(spec: str) -> bool:
    return spec in EMBEDDED and not Path(spec).exists()


def _acts(spec: str) -> bool:
    return (_embedded(spec) and spec == "room") or spec.startswith(GYMNASIUM) or (Path(spec) / "control.json").is_file()


def _of_pictures(spec: str) -> bool:
    if _embedded(spec) or (spec == BESIDE and not Path(spec).exists()):
        return spec.startswith("portraits")
    return kind_of(spec) in (PIPELINE, PICTURE_LORA)


def _pipeline(spec: str) -> Any:
    """What `DiffusionPolicy.load` takes: a name or folder as it is, or a pipeline of the package, whose names it doesn't know."""
    if _embedded(spec):
        from accord.worlds.portraits import pipeline

        return pipeline(spec.partition("/")[2] or "unet")  # type: ignore[arg-type]
    if kind_of(spec) == PICTURE_LORA:
        from accord.policies.diffusion.files import base_of, with_lora

        base = base_of(folder := folder_of(spec))
        return with_lora(_pipeline(base), folder) if _embedded(base) else spec
    return spec
