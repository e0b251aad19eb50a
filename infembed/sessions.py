"""ONNX Runtime sessions: what runs them, and which of them share the weights' memory.

Sessions on the processor read one mapping of the weight file (infembed/weightfile.py). ONNX Runtime also keeps a packed
copy of every matrix a session multiplies by, unless told not to; docs/serving_runtime.md has what that saves and costs.
"""

from collections.abc import Mapping
from pathlib import Path

from infembed.bundle import REMEDY
from infembed.cpu import has_vnni
from infembed.errors import AlteredArtefactError, BadConfigError
from infembed.execution import Provider
from infembed.onnx_runtime import ort
from infembed.skip_norms import take_apart

_NAMES = {
    Provider.CPU: "CPUExecutionProvider",
    Provider.CUDA: "CUDAExecutionProvider",
    Provider.TENSORRT: "TensorrtExecutionProvider",
}
_CUDA_OPTIONS = {"arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
"""TF32 rounds to 10 bits: it would move float32 vectors by more than export promises."""

_SPIN_US = "10"
"""How long a thread looks for its next piece of work before it sleeps. ONNX Runtime's own choice, a hundred times as
long, makes a lone text half a millisecond faster on idle processors, and doubles the times of whoever shares them."""

_SLOWER_ON_CPU = ["SkipLayerNormFusion"]
"""Rewrites of ONNX Runtime that undo infembed/skip_norms.py."""


def require_provider(provider: Provider) -> None:
    """Refuse a provider that the installed ONNX Runtime was built without."""
    available = ort.get_available_providers()
    if _NAMES[provider] not in available:
        raise BadConfigError(
            f"provider {provider} needs {_NAMES[provider]}, the installed onnxruntime {ort.__version__} has "
            f"{', '.join(available)}; install onnxruntime-gpu in its place, or choose provider cpu"
        )


def session_options(
    n_threads: int, *, initializers: Mapping[str, ort.OrtValue] | None = None, packs_matrices: bool = True
) -> ort.SessionOptions:
    """Make a session's options; `initializers` are shared with other sessions and must outlive it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # One block per batch shape ever seen, beside the arena that could serve them all: 174 MB for 32 x 128 tokens.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    for name, value in (initializers or {}).items():
        options.add_initializer(name, value)
    # Without VNNI the fast sum of 8-bit products overflows; the option takes an exact one, which halves the speed.
    options.add_session_config_entry("session.x64quantprecision", "0" if has_vnni() else "1")
    if not packs_matrices:
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def open_session(
    path: Path, options: ort.SessionOptions, *, provider: Provider = Provider.CPU, cuda_graphs: bool = False
) -> ort.InferenceSession:
    """Load a graph; it runs on the provider or not at all."""
    require_provider(provider)
    try:
        session = ort.InferenceSession(
            str(path) if provider.on_gpu else _for_processor(path, options),
            options,
            providers=_providers(provider, cuda_graphs=cuda_graphs),
            disabled_optimizers=[] if provider.on_gpu else _SLOWER_ON_CPU,
        )
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise AlteredArtefactError(f"ONNX Runtime cannot load {path}: {error}; {REMEDY}") from error
    require_started(provider, session.get_providers())
    session.disable_fallback()
    return session


def _for_processor(path: Path, options: ort.SessionOptions) -> bytes:
    """Rewrite a graph for the processor; weights that are not shared are still found beside it."""
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    return take_apart(path.read_bytes())


def require_started(provider: Provider, names: list[str]) -> None:
    """Refuse a session whose provider did not start: ONNX Runtime logs that and goes on with the processor."""
    if names[0] != _NAMES[provider]:
        raise BadConfigError(
            f"provider {provider} did not start, ONNX Runtime would run on {names[0]}; check the driver and the CUDA "
            "and cuDNN libraries that onnxruntime-gpu asks for, or choose provider cpu"
        )


def _providers(provider: Provider, *, cuda_graphs: bool) -> list[tuple[str, dict[str, str]]]:
    """Put the provider first; a node it has no kernel for goes to the next one."""
    found = [(_NAMES[Provider.CPU], dict[str, str]())]
    if provider.on_gpu:
        found.insert(0, (_NAMES[Provider.CUDA], {**_CUDA_OPTIONS, "enable_cuda_graph": str(int(cuda_graphs))}))
    if provider is Provider.TENSORRT:
        found.insert(0, (_NAMES[Provider.TENSORRT], {"trt_cuda_graph_enable": str(int(cuda_graphs))}))
    return found
