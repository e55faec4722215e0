"""What the site shows that doesn't lie in docs/: the reproductions' pictures, and pages that say how to work on the project."""

from pathlib import Path
from typing import Any

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
