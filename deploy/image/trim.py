"""Take out of an environment what serving never opens: tests, sources for compilers, parts of Arrow, copies, symbols.

usage: trim.py ENVIRONMENT    (standard library and binutils' `strip`: it runs while the image is built)
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FOR_COMPILERS = {".a", ".c", ".cc", ".cpp", ".cuh", ".h", ".hpp", ".pxd", ".pxi", ".pyx"}

# Arrow reads Parquet files that lie on a disk here; its RPC, its clients of object stores and ORC are half of it.
UNUSED_ARROW = (
    "_azurefs.*",
    "_dataset_orc.*",
    "_flight.*",
    "_gcsfs.*",
    "_hdfs.*",
    "_orc.*",
    "_pyarrow_cpp_tests.*",
    "_s3fs.*",
    "libarrow_flight.*",
    "libarrow_python_flight.*",
    "libarrow_s3.*",
)
# The Python module has ONNX Runtime linked into it; this one is for programs in C.
UNUSED_LIBRARY = "onnxruntime/capi/libonnxruntime.so.*"


def unused_files(packages: Path) -> Iterator[Path]:
    """Give every file below `packages` (a site-packages directory) that serving does without."""
    for path in sorted(packages.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        if _is_unused(path.relative_to(packages)):
            yield path


def _is_unused(file: Path) -> bool:
    """Tell by the path inside site-packages; a package called `tests` of its own is none of our business."""
    if file.suffix in FOR_COMPILERS or "tests" in file.parts[1:-1] or "__pycache__" in file.parts:
        return True
    if file.parts[0] == "pyarrow":
        return any(file.match(pattern) for pattern in UNUSED_ARROW)
    return file.match(UNUSED_LIBRARY)


def link_copies(packages: Path) -> int:
    """Make libraries that a wheel holds twice, since wheels know no links, one file; return the bytes won."""
    first: dict[tuple[Path, str], Path] = {}
    won = 0
    for path in sorted(packages.rglob("*.so*"), key=lambda path: (len(path.name), path.name)):
        if path.is_symlink() or not path.is_file():
            continue
        kept = first.setdefault((path.parent, hashlib.sha256(path.read_bytes()).hexdigest()), path)
        if kept is not path:
            won += path.stat().st_size
            path.unlink()
            path.symlink_to(kept.name)
    return won


def strip_symbols(packages: Path) -> int:
    """Take debugging symbols out of libraries; return the bytes won.

    What lies in `*.libs` was rewritten when its wheel was repaired; `strip` is known to break such files.
    """
    libraries = [
        path
        for path in packages.rglob("*.so*")
        if path.is_file() and not path.is_symlink() and not path.parent.name.endswith(".libs")
    ]
    before = _size(libraries)
    subprocess.run(["/usr/bin/strip", "--strip-unneeded", *map(str, libraries)], check=True)
    return before - _size(libraries)


def _size(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def main(environment: Path) -> None:
    for packages in environment.glob("lib/python3*/site-packages"):
        unused = list(unused_files(packages))
        won = {"unused files": _size(unused)}
        for path in unused:
            path.unlink()
        won |= {"copies": link_copies(packages), "symbols": strip_symbols(packages)}
        print("removed", ", ".join(f"{name}: {size / 1e6:.1f} MB" for name, size in won.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
