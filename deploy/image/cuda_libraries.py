"""Fail the build if ONNX Runtime's CUDA provider would miss a library; only the driver comes from the host.

usage: cuda_libraries.py ENVIRONMENT LIBRARIES    (LIBRARIES is what LD_LIBRARY_PATH will name; needs no card)
"""

import ctypes
import subprocess
import sys
from pathlib import Path

FROM_THE_HOST = "libcuda.so.1"
OPENED_BY_NAME = ("libcudnn.so.9", "libcufft.so.12", "libnvrtc.so.13")
"""What the provider opens only when a graph needs it, so that the linker does not know."""


def missing(linked: str) -> list[str]:
    """Read what `ldd` says: the libraries it did not find, but for the driver's."""
    names = [line.split()[0] for line in linked.splitlines() if line.endswith("not found")]
    return [name for name in names if name != FROM_THE_HOST]


def main(environment: Path, libraries: Path) -> None:
    (provider,) = environment.glob("lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so")
    linked = subprocess.run(
        ["/usr/bin/ldd", str(provider)],
        env={"LD_LIBRARY_PATH": str(libraries)},
        capture_output=True,
        text=True,
        check=True,
    )
    if names := missing(linked.stdout):
        sys.exit(f"{provider.name} wants {', '.join(names)}, which {libraries} does not hold")
    for name in OPENED_BY_NAME:
        ctypes.CDLL(str(libraries / name))
    print(f"{provider.name} finds every library but the driver's {FROM_THE_HOST}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
