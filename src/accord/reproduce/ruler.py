"""The ruler of a world: its untrained base, its oracle, and delta, the smallest difference worth having."""

import json

from accord.catalogue import results_folder
from accord.errors import ConfigError


def delta_of(world: str) -> float:
    """The committed delta of a world; raises ConfigError where it has none."""
    path = results_folder() / "rulers.json"
    rulers = json.loads(path.read_text()) if path.is_file() else {}
    if world not in rulers:
        raise ConfigError(f"{path} has no ruler of {world}: measure it by accord reproduce --ruler {world}")
    return float(rulers[world]["delta"])
