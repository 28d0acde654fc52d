"""What must hold of a release, with Python alone: docs/releasing.md.

python tools/release.py notes v0.2.0    the changelog's entry; refuses a tag that is not the version
python tools/release.py notes           the same before there is a tag
python tools/release.py files dist      refuses what is missing in a folder, too many or too large
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION: str = runpy.run_path(str(ROOT / "src/cbackprop/_version.py"))["__version__"]
LARGEST_WHEEL = 1_700_000  # bytes


def notes(tag: str, changelog: str) -> str:
    """The newest entry of the changelog; the tag, the version and that entry's are to be one."""
    if tag != f"v{VERSION}":
        raise SystemExit(f"the tag is {tag!r}; expected 'v{VERSION}', of src/cbackprop/_version.py")
    _, heading, entry, *_ = re.split(r"^## (.*)\n", changelog, flags=re.MULTILINE)
    if not re.fullmatch(rf"{re.escape(VERSION)} - \d{{4}}-\d\d-\d\d", heading):
        raise SystemExit(
            f"CHANGELOG.md begins with '## {heading}'; expected '## {VERSION} - ' and a date"
        )
    if not entry.strip():
        raise SystemExit(f"CHANGELOG.md says nothing of {VERSION}")
    return entry.strip() + "\n"


def identifiers(page: str) -> list[str]:
    """The wheels of a release as cibuildwheel calls them, by the table of docs/releasing.md."""
    pythons = re.findall(r"`(cp\d+t?)`", page)
    systems = re.findall(r"^\| .* \| `(\w+)` \|", page, re.MULTILINE)
    return sorted(f"{python}-{system}" for python in pythons for system in systems)


def identifier(wheel: str) -> str:
    """What cibuildwheel calls a wheel, by the tags in its name."""
    python, abi, platform = wheel.removesuffix(".whl").split("-")[2:]
    system = re.sub(r"_\d+_\d+", "", platform.split(".")[0])
    return f"{python}{'t' if abi.endswith('t') else ''}-{system}"


def check_files(folder: Path, page: str) -> None:
    """One source distribution and every wheel, none of them too large."""
    found = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    sdist = f"cbackprop-{VERSION}.tar.gz"
    wheels = [name for name in found if name.startswith(f"cbackprop-{VERSION}-cp")]
    others = found.keys() - {sdist, *wheels}
    if sdist not in found or others:
        raise SystemExit(f"expected {sdist} and its wheels; there are {sorted(found)}")
    built, expected = sorted(map(identifier, wheels)), identifiers(page)
    if built != expected:
        missing, unexpected = set(expected) - set(built), set(built) - set(expected)
        raise SystemExit(
            f"{len(built)} wheels; expected {len(expected)}: missing {sorted(missing)}, "
            f"unexpected {sorted(unexpected)}"
        )
    large = [name for name in wheels if found[name] > LARGEST_WHEEL]
    if large:
        raise SystemExit(f"larger than {LARGEST_WHEEL:,} bytes: {large}")
    print(f"{sdist}: {found[sdist]:,} bytes; {len(wheels)} wheels, ", end="")
    print(f"{min(map(found.get, wheels)):,} to {max(map(found.get, wheels)):,} bytes")


def main(arguments: list[str]) -> None:
    """As the command line says."""
    match arguments:
        case ["notes", *tag] if len(tag) < 2:
            (tag,) = tag or [f"v{VERSION}"]
            print(notes(tag, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")), end="")
        case ["files", folder]:
            check_files(Path(folder), (ROOT / "docs/releasing.md").read_text(encoding="utf-8"))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
