"""`infembed serve` with a model that can be told to go wrong: python -m deploy.rehearsal.faulty ... --fault FILE.

While FILE is there the model is slow, or gives NaN for some inputs. Everything else is the service itself, so its own
histograms and counters show the fault.
"""

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from deploy.rehearsal.faults import Fault
from infembed.bundle import Bundle
from infembed.encoder import OnnxEncoder, StatesOf, TokenIds
from infembed.tokenization import BundleTokenizer, TokenizedInput
from infembed.vectors import FloatArray
from service.app import create_app
from service.configuration import read_settings
from service.loading import load
from service.logs import configure_logging
from service.server import listen, run


class FaultyEncoder:
    """The real model; `fault` names a file."""

    def __init__(self, real: OnnxEncoder, fault: Path) -> None:
        self._real = real
        self._fault = fault
        self._n_inputs = 0

    @property
    def bundle(self) -> Bundle:
        return self._real.bundle

    @property
    def tokenizer(self) -> BundleTokenizer:
        return self._real.tokenizer

    def encode_instructions(self, instructions: Iterable[TokenIds]) -> Mapping[TokenIds, FloatArray]:
        return self._real.encode_instructions(instructions)

    @property
    def n_runs(self) -> int:
        return self._real.n_runs

    @property
    def most_run_tokens(self) -> int:
        return self._real.most_run_tokens

    def encode(
        self, items: Sequence[TokenizedInput], *, states_of: StatesOf | None = None, is_alone: bool = True
    ) -> FloatArray:
        fault = Fault.of(self._fault)
        time.sleep(fault.delay_s)
        vectors = self._real.encode(items, states_of=states_of, is_alone=is_alone)
        numbers = self._n_inputs + np.arange(1, len(items) + 1)
        self._n_inputs += len(items)
        if fault.nan_every:
            vectors = np.where((numbers % fault.nan_every == 0)[:, None], np.nan, vectors)
        return vectors


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    for option in ("--bundle", "--collections", "--fault"):
        parser.add_argument(option, type=Path, required=True)
    options = parser.parse_args()
    settings = read_settings({}, bundle=options.bundle, collections=options.collections, port=0)
    configure_logging(settings)
    with listen(settings.host, settings.port) as listener:
        encoder, collections = load(settings)
        assert isinstance(encoder, OnnxEncoder)
        app = create_app(settings, encoder=FaultyEncoder(encoder, options.fault), collections=collections)
        host, port = listener.getsockname()[:2]
        run(app, listener, settings, on_ready=lambda _: print(f"ready on http://{host}:{port}", flush=True))


if __name__ == "__main__":
    main()
