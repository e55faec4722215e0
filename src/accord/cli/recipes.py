"""accord recipes: configurations to start from."""

import shutil
from pathlib import Path

from accord.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "recipes"


def list_recipes() -> None:
    """List the recipes with their first line."""
    for path in sorted(FOLDER.glob("*.yaml")):
        print(f"{path.stem:28} {path.read_text().splitlines()[0].lstrip('# ')}")


def copy(name: str, to: str | None = None) -> None:
    """Copy a recipe, to be changed and run.

    Args:
        name: of the recipe.
        to: file to write; NAME.yaml here without.
    """
    source = FOLDER / f"{name}.yaml"
    if not source.is_file():
        raise ConfigError(
            f"no recipe called {name!r}; there are {', '.join(sorted(p.stem for p in FOLDER.glob('*.yaml')))}"
        )
    target = Path(to or f"{name}.yaml")
    if target.exists():
        raise ConfigError(f"{target} exists already: give another name with --to")
    shutil.copy(source, target)
    print(f"{target}: change it, then run it (its first lines say how)")
