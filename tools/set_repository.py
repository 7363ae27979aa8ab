"""Write the repository's address into every file that names it.

    python tools/set_repository.py https://github.com/owner/name

The present address is the one in pyproject.toml; badges, set-up cells, README and CITATION follow.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("pyproject.toml", "README.md", "CITATION.cff", "CONTRIBUTING.md", "tools/setup_cell.py")
PATTERN = r"https://github\.com/[\w.-]+/[\w.-]+"


def set_repository(root: Path, address: str) -> list[Path]:
    """Replace the present address by the new one; return the files that changed."""
    address = address.rstrip("/").removesuffix(".git")
    if not re.fullmatch(PATTERN, address):
        raise ValueError(f"expected https://github.com/owner/name; got {address!r}")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    present = project["urls"]["Repository"]
    old, new = (name.removeprefix("https://github.com/") for name in (present, address))
    # The address itself and a badge's path; the bare OWNER/REPO in the set-up cell stays.
    addresses = re.compile(rf"(https://github\.com/|github/){re.escape(old)}(?![\w-])")
    paths = [root / name for name in FILES] + sorted((root / "notebooks").glob("*.ipynb"))
    changed = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        replaced = addresses.sub(lambda match: match[1] + new, text)
        if replaced != text:
            path.write_text(replaced, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    for changed_path in set_repository(ROOT, sys.argv[1]):
        print(changed_path.relative_to(ROOT))
