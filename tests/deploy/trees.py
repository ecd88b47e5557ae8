"""Directory trees as an engine would make them: layers, and commands in a tree of its own with no network.

The tree at the bottom stands for the slim Python image. It is made of this machine's own Debian packages, those that
every Debian has, and of this machine's Python, put where the image has it.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What is mounted: the layers, a few devices, and the folders that a command may see. No network comes along.
INSIDE = r"""
set -eu
if [ -n "$UPPER" ]; then options="lowerdir=$LOWER,upperdir=$UPPER,workdir=$WORK"; else options="lowerdir=$LOWER"; fi
mount -t overlay overlay -o "$options" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs tmpfs "$ROOT/dev"
for device in null zero full random urandom; do
  touch "$ROOT/dev/$device"
  mount --bind "/dev/$device" "$ROOT/dev/$device"
done
mount -t tmpfs tmpfs "$ROOT/mnt"
for bound in $BOUND; do
  if [ -d "$bound" ]; then mkdir -p "$ROOT/mnt/${bound##*/}"; else touch "$ROOT/mnt/${bound##*/}"; fi
  mount --bind "$bound" "$ROOT/mnt/${bound##*/}"
done
for folder in $WRITABLE; do mount -t tmpfs tmpfs "$ROOT$folder"; chown "$OWNER" "$ROOT$folder"; done
exec chroot --userspec="$OWNER" "$ROOT" /usr/bin/env -i -C "$FOLDER" "$@"
"""

APART = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]


@dataclass
class Tree:
    """Layers, topmost first; commands write into the first one."""

    layers: list[Path]
    bound: tuple[Path, ...] = ()

    def grown(self, layer: Path) -> "Tree":
        """Return this tree with one more layer."""
        layer.mkdir(parents=True)
        return Tree([layer, *self.layers], self.bound)

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        user: str = "0:0",
        folder: str = "/",
        writable: Sequence[str] | None = None,
        bound: Sequence[Path] = (),
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree; with ``writable`` nothing but those folders can be written."""
        top = self.layers[0]
        root, work = top.with_name(f"{top.name}.root"), top.with_name(f"{top.name}.work")
        root.mkdir(exist_ok=True)
        work.mkdir(exist_ok=True)
        changes = writable is None
        names = {
            "ROOT": str(root), "WORK": str(work), "OWNER": user, "FOLDER": folder,
            "UPPER": str(top) if changes else "",
            "LOWER": ":".join(map(str, self.layers[1:] if changes else self.layers)),
            "BOUND": " ".join(map(str, (*self.bound, *bound))), "WRITABLE": " ".join(writable or ()),
            "PATH": os.environ["PATH"],
        }  # fmt: skip
        variables = [f"{name}={value}" for name, value in environment.items()]
        return subprocess.run(
            [*APART, "sh", "-c", INSIDE, "sh", *variables, *command],
            env=names, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip

    def find(self, path: str) -> Path | None:
        """Return where a path of the tree lies on this machine, or ``None``."""
        for layer in self.layers:
            if (layer / path.lstrip("/")).exists() or (layer / path.lstrip("/")).is_symlink():
                return layer / path.lstrip("/")
        return None


def missing(scratch: Path) -> str:
    """Return what this machine lacks for trees of their own, or nothing."""
    if shutil.which("dpkg-query") is None or shutil.which("unshare") is None:
        return "needs a Debian with unshare"
    layer = Tree([scratch / "probe", scratch / "empty"])
    for folder in ("probe", "empty/proc", "empty/dev", "empty/mnt"):
        (scratch / folder).mkdir(parents=True)
    said = layer.run(["true"], {}).stderr
    return said if "mount" in said or "unshare" in said else ""


def slim_python(tree: Path) -> Path:
    """Make the tree at the bottom."""
    query = [
        "dpkg-query",
        "--show",
        "--showformat",
        "${Package}\t${Essential}\t${Priority}\t${Pre-Depends},${Depends}\n",
    ]
    listing = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    table = {line.split("\t")[0]: line.split("\t") for line in listing.splitlines()}
    waiting = [name for name, row in table.items() if row[1] == "yes" or row[2] == "required"] + [
        "libssl3",
        "ca-certificates",
    ]
    wanted: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in table and name not in wanted:
            wanted.add(name)
            waiting += [wish.split("|")[0].split("(")[0].strip() for wish in table[name][3].split(",") if wish.strip()]
    files = subprocess.run(["dpkg", "-L", *sorted(wanted)], capture_output=True, text=True, check=True).stdout
    # With links to folders such as /bin as they are, and documentation left out, as in the slim image.
    paths = {
        path
        for path in files.splitlines()
        if path.startswith("/") and not path.startswith(("/usr/share/", "/usr/include/"))
    }
    places = {"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64"}
    for folder in (
        "dev",
        "proc",
        "sys",
        "mnt",
        "tmp",
        "etc",
        "var/lib",
        "root",
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
    ):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    (tree / "tmp").chmod(0o1777)
    for link, target in places.items():
        (tree / link.lstrip("/")).symlink_to(target)
    _copy(tree, sorted(paths))
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\n")
    _put_python(tree)
    return tree


def _copy(tree: Path, paths: Sequence[str]) -> None:
    # /bin/sh is /usr/bin/sh where /bin is a link; the link itself is made above.
    real = {Path(path).parent.resolve() / Path(path).name for path in paths}
    kept = sorted(str(path) for path in real if path.is_symlink() or path.is_file())
    names = "\0".join([*kept, "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"])
    pack = ["tar", "--create", "--null", "--files-from=-", "--absolute-names", "--ignore-failed-read"]
    archive = subprocess.run(pack, input=names.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    unpack = ["tar", "--extract", "--keep-directory-symlink", "--directory", str(tree)]
    subprocess.run(unpack, input=archive, stderr=subprocess.DEVNULL, check=True)


def _put_python(tree: Path) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = tree / "usr/local/lib" / version
    left_out = shutil.ignore_patterns("site-packages", "dist-packages", "test", "idlelib", "__pycache__", "config-*")
    shutil.copytree(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}), library, ignore=left_out)
    (library / "site-packages").mkdir()
    for found in Path(sysconfig.get_path("purelib")).glob("pip*"):
        shutil.copytree(found, library / "site-packages" / found.name, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "usr/local/bin").mkdir(parents=True)
    program = tree / "usr/local/bin" / version
    shutil.copy2(os.path.realpath(Path(sys.base_prefix) / "bin" / version), program)
    for name in ("python3", "python"):
        (tree / "usr/local/bin" / name).symlink_to(version)
    pip = tree / "usr/local/bin/pip"
    pip.write_text(
        f"#!/usr/local/bin/{version}\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"
    )
    pip.chmod(0o755)
    libraries: set[str] = set()
    for binary in [program, *library.glob("lib-dynload/*.so")]:
        said = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
        libraries |= {line.split("=>")[1].split("(")[0].strip() for line in said.splitlines() if "=> /" in line}
    for found in sorted(libraries):
        target = tree / ("usr/local/lib" if found.startswith(sys.base_prefix) else "usr/lib/x86_64-linux-gnu")
        target.mkdir(parents=True, exist_ok=True)
        if not (target / Path(found).name).exists():
            shutil.copy2(os.path.realpath(found), target / Path(found).name)
    subprocess.run(["ldconfig", "-r", tree], check=True, stderr=subprocess.DEVNULL)
