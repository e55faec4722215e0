"""What the site shows that doesn't lie in docs/: the reproductions' pictures, how to work on the project, and the API's names."""

from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"../CONTRIBUTING.md": "adding-a-method.md", "../reproductions/": "reproductions/"}


def on_files(files: Any, config: Any) -> Any:
    for picture in sorted((ROOT / "reproductions").glob("*.svg")):
        files.append(File.generated(config, f"reproductions/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    for there, here in ELSEWHERE.items():
        markdown = markdown.replace(f"]({there}", f"]({here}")
    return markdown


class NamesBeforeFiles(griffe.Extension):
    """As in the package (see accord.lazy): accord.engine.fit is the function, not the file of that name."""

    def on_package(self, *, pkg: griffe.Module, **more: Any) -> None:
        folders = [pkg]
        for folder in folders:
            folders += [m for m in folder.members.values() if isinstance(m, griffe.Module)]
        for folder in folders:
            for name in map(str, folder.exports or ()):
                named = folder.members.get(name)
                file = named.target if isinstance(named, griffe.Alias) and named.resolved else named
                if isinstance(file, griffe.Module) and name in file.members:
                    folder.members[name] = file.members[name]
