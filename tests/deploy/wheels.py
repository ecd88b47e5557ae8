"""Package indexes in folders, made of what is installed here: pip installs from them as from any other."""

import base64
import hashlib
import re
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

CUDA = re.compile(r"^(nvidia|cuda|triton)", re.IGNORECASE)


def normal(name: str) -> str:
    """Return a name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, Distribution]:
    """Return what is installed here, by name."""
    return {normal(found.metadata["Name"]): found for found in distributions()}


def pack(index: Path, distribution: Distribution) -> None:
    """Put a distribution into an index, as a wheel with the files that its record names."""
    info = f"{_stem(distribution)}.dist-info"
    data = f"{_stem(distribution)}.data"
    scripts = {point.name for point in distribution.entry_points if point.group.endswith("_scripts")}
    contents = {}
    for file in distribution.files or ():
        name, source = str(file), Path(str(distribution.locate_file(file)))
        if name.partition("/")[0].endswith(".dist-info"):
            name = f"{info}/{name.partition('/')[2]}"
            if name.rpartition("/")[2] in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
                continue
        elif name.startswith("../"):
            place, _, rest = name.replace("../", "").partition("/")
            if place == "bin" and rest in scripts:
                continue  # pip writes it anew
            name = f"{data}/scripts/{rest}" if place == "bin" else f"{data}/data/{place}/{rest}"
        if not name.endswith(".pyc") and source.is_file():
            contents[name] = source.read_bytes()
    _write(index, distribution, distribution.version, contents)


def stand_in(
    index: Path, distribution: Distribution, *, version: str = "", without: re.Pattern[str] | None = None
) -> None:
    """Put a wheel into an index that has the distribution's name and requirements, and no files."""
    version = version or distribution.version
    wanted = [wish for wish in distribution.requires or () if not (without and without.match(wish))]
    lines = ["Metadata-Version: 2.1", f"Name: {distribution.metadata['Name']}", f"Version: {version}"]
    metadata = "\n".join(lines + [f"Requires-Dist: {wish}" for wish in wanted]) + "\n"
    info = f"{_stem(distribution, version)}.dist-info"
    contents = {f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n"}
    _write(index, distribution, version, contents)


def _stem(distribution: Distribution, version: str = "") -> str:
    return f"{normal(distribution.metadata['Name']).replace('-', '_')}-{version or distribution.version}"


def _write(index: Path, distribution: Distribution, version: str, contents: dict[str, bytes]) -> None:
    stem = _stem(distribution, version)
    folder = index / normal(distribution.metadata["Name"])
    folder.mkdir(parents=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    record = [f"{name},{_digest(content)},{len(content)}" for name, content in contents.items()]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(_entry(name), content)
        archive.writestr(_entry(f"{stem}.dist-info/RECORD"), "\n".join([*record, f"{stem}.dist-info/RECORD,,", ""]))
    (folder / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>')


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (0o100755 if "/scripts/" in name or name.endswith(".so") else 0o100644) << 16
    return entry


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def needed(wishes: Iterable[str]) -> set[str]:
    """Return what is installed here and meets these requirements, with everything that it needs itself."""
    here = installed()
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(wish) for wish in wishes]
    while waiting:
        wish = waiting.pop()
        name = normal(wish.name)
        for extra in {"", *wish.extras}:
            if name in here and (name, extra) not in seen:
                seen.add((name, extra))
                found.add(name)
                further = map(Requirement, here[name].requires or ())
                waiting += [more for more in further if not more.marker or more.marker.evaluate({"extra": extra})]
    return found
