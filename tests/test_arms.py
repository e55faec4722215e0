"""Arms of reproductions: those of the claim, made again when their code changes, the same whatever ran before them."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.algorithms import PPO
from accord.engine import fit
from accord.feedback import Comparison
from accord.policies import LanguagePolicy, Sampling
from accord.reproduce import System, claims, reproduce_one, systems
from accord.reproduce.keep import kept, load_comparisons, save_comparisons
from accord.reproduce.luck import luck
from accord.reproduce.runs import measure
from accord.reproduce.source import reached, source_hash
from accord.rewards import BradleyTerry, length_penalty
from accord.worlds import letters

SYSTEM = """
'''A system.'''
from accord.reproduce.claim import Claim, Primary
from accord.worlds.letters.tasks import tasks

RAN = []
CLAIM = Claim("magicid", "letters", "new beats old", (Primary("new", "old", delta=0.05),), ("old", "new", "more"), ("old", "new"))


def arm(gold):
    def run(seed):
        RAN.append(seed)
        return {"gold": gold + seed / 1000}

    return run


ARMS = {"old": arm(0.3), "new": arm(0.5), "more": arm(0.4)}
"""


@pytest.fixture
def magicid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the reproduction of a system that has none, and reads it anew."""
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(tmp_path)])
    name = f"{systems.__name__}.magicid"

    def write(text: str) -> Any:
        (tmp_path / "magicid.py").write_text(text)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield write
    sys.modules.pop(name, None)


def test_every_systems_table_has_the_arms_of_its_claim() -> None:
    for name in claims():
        system = System.of(name)
        table = importlib.import_module(system.module).ARMS
        assert list(table) == list(system.claim.arms)
        lost = system.claim.arms[0]
        with pytest.raises(ValueError, match=rf"differ in \['{lost}'\]"):
            system.claim.check({k: v for k, v in table.items() if k != lost})


def test_arms_are_kept_until_their_code_changes(magicid: Any, tmp_path: Path) -> None:
    def ran(text: str) -> tuple[int, dict[str, Any]]:
        module = magicid(text)
        reproduce_one(System.of("magicid"), processes=1, to=tmp_path / "magicid.json")
        return len(module.RAN), json.loads((tmp_path / "magicid.json").read_text())

    count, first = ran(SYSTEM)
    assert count == 3 * 6
    assert first["source_hash"] == source_hash(f"{systems.__name__}.magicid")
    assert first["measures"]["new"]["gold"] == pytest.approx([0.9 + i / 1000 for i in range(6)])
    count, again = ran(SYSTEM.replace("A system.", "The same system, told otherwise.") + "\n# and so on\n")
    assert count == 0
    assert again == first
    count, changed = ran(SYSTEM.replace("arm(0.5)", "arm(0.6)"))
    assert count == 3 * 6
    assert changed["claim_hash"] == first["claim_hash"]
    assert changed["source_hash"] != first["source_hash"]


TOY = {
    "__init__.py": "",
    "parts/__init__.py": "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from toy.parts.one import first\n    from toy.parts.two import second\n",
    "parts/one.py": "from toy.deep.model import WEIGHTS\n\n\ndef first():\n    return WEIGHTS\n",
    "parts/two.py": "def second():\n    return 2\n",
    "deep/__init__.py": "",
    "deep/model.py": "import json\nWEIGHTS = 1\n",
    "deep/weights/w.bin": "abc",
    "system.py": "def run():\n    'Late.'\n    from toy.parts import first\n    return first()\n",
}


@pytest.mark.parametrize(
    ("file", "text", "counts"),
    [
        ("system.py", "def run():\n    # none\n    from toy.parts import (first,)\n    return first()\n", False),
        ("system.py", "def run():\n    from toy.parts import first\n    return -first()\n", True),
        ("parts/one.py", "from toy.deep.model import WEIGHTS\n\n\ndef first():\n    return WEIGHTS + 1\n", True),
        ("parts/two.py", "def second():\n    return 3\n", False),
        ("parts/__init__.py", TOY["parts/__init__.py"] + "    from toy.parts.three import third\n", False),
        ("deep/model.py", "import json\nWEIGHTS = 2\n", True),
        ("deep/weights/w.bin", "abd", True),
    ],
)
def test_the_hash_follows_what_a_system_reaches_and_nothing_else(
    file: str, text: str, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in TOY.items():
        (tmp_path / "toy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "toy" / name).write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [n for n in sys.modules if n.partition(".")[0] == "toy"]:
        monkeypatch.delitem(sys.modules, name)
    before = source_hash("toy.system")
    assert reached("toy.system") == {"toy.system", "toy.parts.one", "toy.deep.model"}
    (tmp_path / "toy" / file).write_text(text)
    assert (source_hash("toy.system") != before) == counts


def test_all_that_python_loads_for_a_system_is_reached() -> None:
    """But for the packages' own files, which only lead on."""
    name = f"{systems.__name__}.par"
    code = f"import sys, {name}; print(*[n for n, m in sys.modules.items() if n.startswith('accord') and not hasattr(m, '__path__')])"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert len(loaded) > 30
    assert loaded - reached(name) <= {"accord.lazy"}
    assert "accord.algorithms.rollout.ddpo" not in reached(name)


def weights_after(seed: int) -> dict[str, float]:
    """A fresh LoRA and critic after a step, and what draws from the global generators without being asked."""
    policy = LanguagePolicy.load(letters.WEIGHTS, lora=2)
    algorithm = PPO(policy, length_penalty(3), sampling=Sampling(max_new_tokens=6))
    fit(algorithm, letters.tasks(4, seed=seed), steps=1, batch_size=2, lr=1e-2, seed=luck(seed), progress=False)
    drawn = float(torch.nn.Linear(3, 3).weight.sum())
    return {"gold": sum(float(p.double().sum()) for p in algorithm.parameters()), "drawn": drawn}


def test_an_arm_comes_out_the_same_alone_and_after_others() -> None:
    def other(seed: int) -> dict[str, float]:
        torch.manual_seed(5)
        reward = BradleyTerry.load(letters.WEIGHTS)
        return {"gold": float(next(reward.parameters()).sum() + torch.rand(()))}

    torch.manual_seed(0)
    state = torch.get_rng_state()
    alone = measure(weights_after, 1)
    assert torch.equal(torch.get_rng_state(), state)
    measure(other, 1)
    torch.manual_seed(1)
    after = measure(weights_after, 1)
    assert after["measures"] == alone["measures"]
    assert measure(weights_after, 1, 1)["measures"] != alone["measures"], "a twin has other luck"
    assert measure(weights_after, 2)["measures"] != alone["measures"]


@pytest.mark.parametrize(
    "sides", [("good", "bad"), (torch.rand(3, 4, 4), torch.rand(3, 4, 4))], ids=["texts", "pictures"]
)
def test_what_is_kept_is_made_once_and_is_the_same_for_whoever_asks(
    sides: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path))
    made = []

    def make() -> list[Comparison]:
        made.append(torch.rand(()))
        return [Comparison(prompt="?", chosen=sides[0], rejected=sides[1], annotator="a")] * 2

    def ask(name: str = "pairs", seed: int = 1) -> list[Comparison]:
        return kept(name, seed, make, save_comparisons, load_comparisons)

    state = torch.get_rng_state()
    first, second = ask(), ask()
    assert torch.equal(torch.get_rng_state(), state)
    assert len(made) == 1
    for found in (*first, *second):
        assert (found.prompt, found.annotator) == ("?", "a")
        assert all(
            torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
            for x, y in zip((found.chosen, found.rejected), sides, strict=True)
        )
    ask(seed=2), ask("pairs of others")
    assert len(made) == 3
