"""Rewards on disk: their own few weights, what they were made with, which features they stand on, and the rewards that they are made of."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from accord.engine.memory import ran_out
from accord.engine.run import added_to, load_tensors, read_json, save_tensors, write_json
from accord.engine.store import fingerprint
from accord.errors import ModelError
from accord.policies import LanguagePolicy
from accord.policies.placement import Device, Dtype, device_of
from accord.rewards.classifier import BradleyTerry
from accord.rewards.encoder import SentenceEncoder
from accord.rewards.features import Features, SentenceFeatures, TrunkFeatures
from accord.rewards.reward import name_of

INFO, WEIGHTS = "reward.json", "head.safetensors"
SAYS = ("kind", "settings", "features", "fingerprint")


class Saved(nn.Module):
    """A reward that is kept as a folder. Frozen features are named there, and are no part of what is saved; rewards that it is made of have
    folders of their own within.

    Attributes:
        features: what it stands on; some stand on none.
    """

    features: Features

    @property
    def settings(self) -> dict[str, Any]:
        """What it is made with beside features and parts, by name, as plain values."""
        raise NotImplementedError

    @property
    def parts(self) -> dict[str, Any]:
        """What it is made of that has a `save` of its own, by the names of their folders; modules by those of their attributes."""
        return {}

    def weights(self) -> dict[str, Tensor]:
        """Its own, without those of its parts."""
        return {k: v for k, v in self.state_dict().items() if k.partition(".")[0] not in self.parts}

    def take(self, weights: dict[str, Tensor]) -> None:
        """Put back what `weights` gave."""
        self.load_state_dict(weights, strict=False)

    @property
    def fingerprint(self) -> str:
        below = [self.features.fingerprint] if hasattr(self, "features") else []
        return ":".join([*below, fingerprint(self), str(self.settings)])

    def save(self, folder: str | Path) -> None:
        """Write reward.json, which names the features, its own weights, and its parts.

        Raises:
            ModelError: a part can't be saved.
        """
        features = getattr(self, "features", None)
        with added_to(Path(folder)) as new:
            for name, part in self.parts.items():
                if not hasattr(part, "save"):
                    raise ModelError(f"a {type(self).__name__} is saved with its parts, but {name_of(part)} ({name}) has no save: "
                                     "make this one again from its parts where it is wanted")  # fmt: skip
                part.save(new / name)
            if weights := self.weights():
                save_tensors(new / WEIGHTS, weights)
            write_json(new / INFO, {"kind": _named_as(type(self)), "settings": self.settings,
                                    "features": None if features is None else _source(features),
                                    "fingerprint": None if features is None else features.fingerprint})  # fmt: skip

    @classmethod
    def load(cls, folder: str | Path, features: Features | None = None, *, device: Device = "auto", dtype: Dtype = "auto") -> Self:  # fmt: skip
        """Read what `save` wrote.

        Args:
            features: those that it, or a part of it, was trained on, if they are open already; others are opened again by their name.
            device, dtype: of all networks; auto is the precision in which they were when it was saved.

        Raises:
            ModelError: it is a reward of another kind, a part of it is not there, or the features are not what they were.
        """
        kept = Kept(Path(folder), features, device, dtype)
        if (kind := kept.info["kind"]) != _named_as(cls):
            raise ModelError(f"{folder} holds a {kind}, not a {_named_as(cls)}: open it by {kind}.load")
        return kept.reward(cls)

    @classmethod
    def made(cls, kept: "Kept") -> Self:
        """A fresh one, as a folder says."""
        return cls(kept.features, **kept.settings)


def load(
    folder: str | Path, features: Features | None = None, *, device: Device = "auto", dtype: Dtype = "auto"
) -> Any:
    """A saved reward of whatever kind; see `Saved.load`. A folder without reward.json is one of transformers, a `BradleyTerry`."""
    return Kept(Path(folder), features, device, dtype).reward()


@dataclass(frozen=True)
class Kept:
    """A saved reward's folder, while it is opened.

    Attributes:
        given: features that the caller has. device, dtype: as for `Saved.load`.
        known: features that lie open, each once for all parts that stand on them.
    """

    folder: Path
    given: Features | None = None
    device: Device = "auto"
    dtype: Dtype = "auto"
    known: list[Features] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.given is not None:
            self.known.append(self.given)

    @cached_property
    def info(self) -> dict[str, Any]:
        """What reward.json says.

        Raises:
            ModelError: there is none, or it says too little.
        """
        path = self.folder / INFO
        if not path.is_file():
            raise ModelError(f"{self.folder} has no {INFO}: it is no saved reward, or a part of it is missing")
        info = read_json(path, mend="save the reward again")
        if missing := [name for name in SAYS if name not in info]:
            raise ModelError(
                f"{path} says nothing of {', '.join(missing)}: an older accord saved it, or it was cut off; save the reward again"
            )
        return info

    @property
    def kind(self) -> type[Saved]:
        """Its class: one of accord's, or a user's own that is imported."""
        name = str(self.info["kind"])
        getattr(_rewards(), name, None)  # accord's own are imported when they are asked for
        found = [kind for kind in _kinds(Saved) if _named_as(kind) == name]
        if not found:
            raise ModelError(
                f"{self.folder} holds a {name}, which is no reward that is known here: import the module that has it first"
            )
        return found[-1]  # of a class that a notebook defined again, the last

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.info["settings"])

    @cached_property
    def features(self) -> Any:
        """Those that it stands on."""
        found = next((f for f in self.known if f.fingerprint == self.info["fingerprint"]), None)
        if found is None:
            found = self.given or _opened(self.info["features"], self)
            self.known.append(found)
        if found.fingerprint != self.info["fingerprint"]:
            raise ModelError(f"{self.folder} was trained on {_other(self.info['features'], _source(found))}")
        return found

    def part(self, name: str) -> Any:
        """A reward that it is made of."""
        return replace(self, folder=self.folder / name, given=None).reward()

    def reward(self, kind: type[Saved] | None = None) -> Any:
        """The reward; of this class, if it is known."""
        if (self.folder / "config.json").is_file() and not (self.folder / INFO).is_file():
            return self._of_transformers()
        kind = kind or self.kind
        try:
            made = kind.made(self)
            if own := made.weights():
                weights = load_tensors(self.folder / WEIGHTS)
                if odd := sorted(own.keys() ^ weights.keys()):
                    raise KeyError(odd[0])
                made.take(weights)
        except (KeyError, TypeError, RuntimeError) as error:
            if ran_out(error):
                raise
            raise ModelError(f"{self.folder} holds no whole {kind.__name__} ({str(error).splitlines()[0]}): save the reward again") from error  # fmt: skip
        return made.to(device_of(self.device)).eval()

    def _of_transformers(self) -> BradleyTerry:
        """In the precision in which it was saved; others may stand on its last hidden state."""
        said = read_json(self.folder / "config.json", mend="save the reward again")
        dtype = said.get("dtype", "auto") if self.dtype == "auto" else self.dtype
        found = BradleyTerry.load(str(self.folder), device=self.device, dtype=dtype)
        self.known.append(TrunkFeatures(found))
        return found


def _kinds(above: type[Saved]) -> Iterator[type[Saved]]:
    """All classes under one, that are imported."""
    for kind in above.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _named_as(kind: type[Saved]) -> str:
    """By what reward.json knows it: its name alone if it is accord's."""
    own = getattr(_rewards(), kind.__name__, None) is kind
    return kind.__name__ if own else f"{kind.__module__}.{kind.__qualname__}"


def _rewards() -> Any:
    """The whole package by its name: an import would make every reward a part of each that can be saved, when a run's source is hashed."""
    return import_module("accord.rewards")


def _source(features: Features) -> dict[str, Any]:
    """By what they can be opened again, where they know it; else what they are."""
    return getattr(features, "source", None) or {"kind": type(features).__name__}


def _opened(source: dict[str, Any], where: Kept) -> Features:
    """Features by their source, in the precision in which they were unless another is asked for."""
    dtype = source.get("dtype", "auto") if where.dtype == "auto" else where.dtype
    if "encoder" in source:
        encoder = SentenceEncoder(source["encoder"], max_tokens=source["max_tokens"], device=where.device)
        return SentenceFeatures(encoder)
    if "sees" in source:
        return _rewards().VisionLanguageFeatures.load(source["sees"], device=where.device, dtype=dtype)
    for name, trunk in (("model", LanguagePolicy), ("reward", BradleyTerry)):
        if name in source:
            return TrunkFeatures(trunk.load(source[name], device=where.device, dtype=dtype))
    raise ModelError(f"{where.folder} stands on features of {_named(source)}: give them (features=…)")


def _other(source: dict[str, Any], here: dict[str, Any]) -> str:
    """In what features differ from those that are here."""
    then, now = source.get("dtype"), here.get("dtype")
    if then is not None and now is not None and then != now:
        return (
            f"{_named(source)} in another precision ({then}, here it is {now}): open that in {then} (leave --dtype out)"
        )
    return f"other weights of {_named(source)} than are here now"


def _named(source: dict[str, Any]) -> str:
    return " ".join(str(v) for k, v in source.items() if k not in ("max_tokens", "dtype"))
