"""What the site shows that doesn't lie in docs/: the reproductions' pictures, how to work on the project, and the API's names."""

from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

from accord.catalogue import methods

ROOT = Path(__file__).parents[1]
TABLE = "<!-- the methods of the catalogue -->"
ELSEWHERE = {"../CONTRIBUTING.md": "adding-a-method.md", "../reproductions/": "reproductions/"}


def on_files(files: Any, config: Any) -> Any:
    for picture in sorted((ROOT / "reproductions").glob("*.svg")):
        files.append(File.generated(config, f"reproductions/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    for there, here in ELSEWHERE.items():
        markdown = markdown.replace(f"]({there}", f"]({here}")
    return markdown.replace(TABLE, catalogue()) if TABLE in markdown else markdown


def catalogue() -> str:
    """Every working method by what its row says, with its paper and, where it was measured, its verdict."""
    lines = ["| name | what it does | kind | works on | paper | measured |", "|---|---|---|---|---|---|"]
    for m in sorted(methods(), key=lambda m: (m.kind, m.name)):
        if m.entry is not None:
            paper = f"[{m.arxiv}](https://arxiv.org/abs/{m.arxiv})" if m.arxiv else ""
            verdict = f"[{m.reproduction}](reproductions.md#{m.name})" if m.reproduction else ""
            lines.append(f"| `{m.name}` | {m.what} | {m.kind} | {', '.join(m.modality)} | {paper} | {verdict} |")
    return "\n".join(lines)


class NamesBeforeFiles(griffe.Extension):
    """As in the package (see accord.lazy): accord.engine.fit is the function, not the file of that name."""

    def on_package(self, *, pkg: griffe.Module, **more: Any) -> None:
        folders = [pkg]
        for folder in folders:
            folders += [m for m in folder.members.values() if isinstance(m, griffe.Module)]
        for folder in reversed(folders):  # what a folder imports from one within it is in place by then
            hidden = [n for n, m in folder.members.items() if _is_file(m) and n in folder.imports]
            paths = {n: folder.imports[n].removeprefix(f"{pkg.path}.") for n in hidden}
            folder.members |= {n: m for n, path in paths.items() if path != n and not _is_file(m := pkg[path])}


def _is_file(member: Any) -> bool:
    """Whether a name stands for a module, by itself or as what was imported from elsewhere."""
    return isinstance(member.target if isinstance(member, griffe.Alias) and member.resolved else member, griffe.Module)
