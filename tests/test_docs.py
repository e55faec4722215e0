"""The pages of the site: their Python runs, and what they name is there."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import accord
from accord.cli import main
from accord.policies.diffusion.families import FAMILIES
from accord.rewards.pictures.reward import PictureReward

ROOT = Path(accord.__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
LONG = ("story-better", "story-face", "story-hacked")
"""Pages whose examples train for a while."""
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[tuple[int, str | None, str]]:
    """(line, title, text) of each fenced block in a language."""
    text = page.read_text()
    found = [m for m in FENCE.finditer(text) if m[1] == language]
    return [(text.count("\n", 0, m.start()) + 1, m[2], m[3]) for m in found]


def commands_of(page: Path) -> list[tuple[str, list[str]]]:
    """(command words, flags) of each call of accord in a page's blocks for shells, or in those of no language."""
    text = "\n".join(re.findall(r"^```(?:sh)?\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))
    calls = re.findall(r"^(?:.* -m )?accord (.*)$", text.replace("\\\n", " "), re.MULTILINE)
    words = [re.match(r"(?:[a-z][a-z-]*(?: |$))*", re.split(r"\s{2}", c)[0]) for c in calls]
    return [(w[0].strip() if w else "", re.findall(r"--([\w.-]+)", c)) for w, c in zip(words, calls, strict=True)]


def names_of(code: str) -> set[str]:
    """Every ``accord.a.b`` that code spells out, and what it imports from accord."""
    tree = ast.parse(code)
    found = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    found = {n for n in found if re.fullmatch(r"accord(\.\w+)+", n)}
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and str(n.module).startswith("accord")]
    return found | {f"{i.module}.{a.name}" for i in imports for a in i.names}


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow if p.stem in LONG else ()) for p in PAGES if blocks(p, "python")],
    ids=lambda p: p.stem,
)
def test_the_examples_of_a_page_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one namespace, in an empty folder that holds the page's titled files."""
    monkeypatch.chdir(tmp_path)
    for _, title, text in blocks(page, "json"):
        (tmp_path / str(title)).write_text(text)
    namespace: dict[str, Any] = {"__name__": page.stem}
    for line, _, code in blocks(page, "python"):
        exec(compile("\n" * line + code, str(page), "exec"), namespace)


def test_what_the_readme_names_is_there() -> None:
    code = [text for _, _, text in blocks(ROOT / "README.md", "python")]
    assert code
    for name in set().union(*map(names_of, code)):
        found: Any = accord
        for part in name.split(".")[1:]:
            found = getattr(found, part)


@pytest.mark.parametrize("page", [p for p in [*PAGES, ROOT / "README.md"] if commands_of(p)], ids=lambda p: p.stem)
def test_the_commands_of_a_page_are_there_with_their_flags(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, flags in commands_of(page):
        if flags != ["version"]:
            assert main([*words.split(), "--help"]) == 0, words
            told = capsys.readouterr().out.replace("-", "_")
            assert [f for f in flags if not re.search(rf"__{f}\b".replace("-", "_"), told)] == [], words


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*/*.md")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_what_a_page_says_was_tested_is_a_test(page: Path) -> None:
    rows = re.findall(r"^\| (.*) \| .* ?\| `(test_\w+\.py)` \| (.*) \|$", page.read_text(), re.MULTILINE)
    assert rows or page.parent.name == "api"
    for sentence, file, since in rows:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", since), sentence
        assert f"def test_{sentence.replace(' ', '_')}(" in (ROOT / "tests" / file).read_text()


def test_every_family_and_reward_has_its_page() -> None:
    families = {kind.__module__.rpartition(".")[2]: kind.name for kind in FAMILIES}
    for name, title in families.items():
        assert (ROOT / "docs" / "families" / f"{name}.md").read_text().startswith(f"# {title}\n")
    networks = {n for n in accord.rewards.__all__ if isinstance(made := getattr(accord.rewards, n), type)
                and issubclass(made, PictureReward)}  # fmt: skip
    pages = {p.stem: p.read_text() for p in (ROOT / "docs" / "rewards").glob("*.md")}
    assert {n.lower() for n in networks} <= pages.keys()
    for stem, text in pages.items():
        names = re.findall(r"^## `(\w+)`$", text, re.MULTILINE) or re.findall(r"^# (\w+)$", text, re.MULTILINE)
        assert set(names) <= set(accord.rewards.__all__), stem
        assert text.lower().startswith(f"# {stem}\n")


def test_every_page_is_in_the_menu() -> None:
    """But for what another page is made of."""
    menu = set(re.findall(r"^ +(?:- .*: )?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert menu == {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}


def test_every_public_package_has_a_page_of_its_names() -> None:
    packages = {p.parent.name for p in Path(accord.__file__).parent.glob("*/__init__.py")}
    pages = {p.stem for p in (ROOT / "docs" / "api").glob("*.md")} - {"index"}
    assert pages == packages & set(accord.__all__)
