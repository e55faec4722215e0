"""Heads on frozen features, on disk: their weights, the settings they were made with, and which features they stand on."""

from pathlib import Path
from typing import Any, Self

from torch import nn

from accord.engine.run import added_to, load_tensors, read_json, save_tensors, write_json
from accord.engine.store import fingerprint
from accord.errors import ModelError
from accord.rewards.encoder import SentenceEncoder
from accord.rewards.features import Features, SentenceFeatures

INFO, WEIGHTS = "reward.json", "head.safetensors"
SAYS = ("kind", "settings", "features", "fingerprint")


class Saved(nn.Module):
    """A reward made of small networks on frozen features, which are no part of what is saved.

    Attributes:
        features: what it stands on.
    """

    features: Features

    @property
    def settings(self) -> dict[str, Any]:
        """What it is made with beside the features, by name, as plain values."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        return f"{self.features.fingerprint}:{fingerprint(self)}:{self.settings}"

    def save(self, folder: str | Path) -> None:
        """Write head.safetensors, and reward.json, which names the features."""
        with added_to(Path(folder)) as part:
            save_tensors(part / WEIGHTS, dict(self.state_dict()))
            write_json(part / INFO, {"kind": type(self).__name__, "settings": self.settings, "features": _source(self.features),
                                     "fingerprint": self.features.fingerprint})  # fmt: skip

    @classmethod
    def load(cls, folder: str | Path, features: Features | None = None) -> Self:
        """Read what `save` wrote.

        Args:
            features: those that it was trained on; a sentence encoder's are opened again by its name.

        Raises:
            ModelError: it is a reward of another kind, or the features are not there or not what they were.
        """
        info = about(folder)
        if info["kind"] != cls.__name__:
            raise ModelError(f"{folder} holds a {info['kind']}, not a {cls.__name__}: open it by {info['kind']}.load")
        stands_on = features or _opened(info["features"], folder)
        if stands_on.fingerprint != info["fingerprint"]:
            raise ModelError(f"{folder} was trained on {_other(info['features'], _source(stands_on))}")
        reward = cls.made(stands_on, info["settings"])
        reward.load_state_dict(load_tensors(Path(folder) / WEIGHTS))
        return reward.eval()

    @classmethod
    def made(cls, features: Features, settings: dict[str, Any]) -> Self:
        """A fresh one."""
        return cls(features, **settings)


def about(folder: str | Path) -> dict[str, Any]:
    """What reward.json says; raises ModelError where there is none, or it says too little."""
    path = Path(folder) / INFO
    if not path.is_file():
        raise ModelError(f"{folder} has no {INFO}: it is no saved head on frozen features")
    info = read_json(path, mend="save the reward again")
    if missing := [name for name in SAYS if name not in info]:
        raise ModelError(
            f"{path} says nothing of {', '.join(missing)}: an older accord saved it, or it was cut off; save the reward again"
        )
    return info


def load_head(folder: str | Path, features: Features | None = None) -> Saved:
    """A saved head of whatever kind; see `Saved.load`."""
    from accord import rewards

    kind = getattr(rewards, str(about(folder)["kind"]), None)
    if not (isinstance(kind, type) and issubclass(kind, Saved)):
        raise ModelError(f"{folder} holds a {about(folder)['kind']}, which is no head that is known here")
    return kind.load(folder, features)


def _source(features: Features) -> dict[str, Any]:
    """By what they can be opened again, where they know it; else what they are."""
    return getattr(features, "source", None) or {"kind": type(features).__name__}


def _opened(source: dict[str, Any], folder: str | Path) -> Features:
    if "encoder" not in source:
        raise ModelError(f"{folder} stands on features of {_named(source)}: give them (features=TrunkFeatures(…))")
    return SentenceFeatures(SentenceEncoder(source["encoder"], max_tokens=source["max_tokens"]))


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
