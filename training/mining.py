"""Hard negatives for term P: what the model, as it is when the run starts, ranks high and no row calls right.

Positive-aware (NV-Retriever, arXiv 2407.15831): a document that scores nearly as high as the positive is more likely a
right one that nobody judged, so it is left out. Legend: B anchors, N documents.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from evaluation.vector_cache import digest_of
from infembed.artefacts import new_file
from infembed.progress import Report
from training.corpus.rows import AnchoredPair
from training.encoder import TorchEncoder
from training.frozen_documents import FrozenDocuments
from training.model import InfEmbed, query_inputs
from training.pairs import RightDocuments

_SCORES = 1 << 24
"""Most scores held at once; 64 MiB."""
_SHARE = 2048
_BESIDE = 2
"""Most documents in a row beside an anchor's own: they are in its batch anyway, so as many more are mined."""

_log = logging.getLogger(__name__)

Places = npt.NDArray[np.int32]


class Mined:
    """The negatives of each pair, hardest first."""

    def __init__(self, found: Mapping[AnchoredPair, tuple[str, ...]], n: int) -> None:
        self._found = found
        self._n = n

    def pick(self, pair: AnchoredPair, beside: Collection[str]) -> tuple[str, ...]:
        """Return up to n documents that do not stand beside the pair in its row."""
        return tuple(document for document in self._found[pair] if document not in beside)[: self._n]


def mine(
    model: InfEmbed,
    pairs: Sequence[AnchoredPair],
    known: Sequence[AnchoredPair],
    *,
    n: int,
    most: float,
    start: str | None,
    frozen: FrozenDocuments | None,
    cache: Path,
    report: Report = lambda *_: None,
) -> Mined:
    """Mine for each of some pairs among their documents; what `known` pairs call right is none.

    `start` identifies the checkpoint that the model was loaded from. The same model and pairs give the same negatives;
    they are read from the cache the second time.
    """
    documents = list(dict.fromkeys(pair.document for pair in pairs))
    reading = model.config.model_dump_json(exclude={"base", "lora", "dropout"})
    texts = [part or "" for pair in (*pairs, *known) for part in pair]
    identity = [model.base_fingerprint, model.reading_digest, start or "", reading]
    key = digest_of([*identity, f"{n} {most} {len(pairs)}", *texts])
    path = cache / "mined" / f"{key[:16]}.npy"
    places = _read(path, shape=(len(pairs), n + _BESIDE))
    if places is None:
        vectors_ND = frozen[documents] if frozen else _encode(model, documents, report)
        blocks = _blocks(model, pairs, documents, vectors_ND, RightDocuments(known), n=n, most=most, report=report)
        places = np.concatenate(list(blocks))
        _write(path, places)
    found = (tuple(documents[place] for place in row if place >= 0) for row in places.tolist())
    return Mined(dict(zip(pairs, found, strict=True)), n)


def hardest(scores_BN: Tensor, limit_B: Tensor, is_wrong_BN: Tensor, *, n: int) -> Tensor:
    """Return (B, n) places of the highest scores below the limit among wrong documents, best first; -1 where fewer."""
    is_open_BN = is_wrong_BN & (scores_BN < limit_B[:, None])
    best = scores_BN.masked_fill(~is_open_BN, float("-inf")).topk(min(n, scores_BN.shape[1]), dim=1)
    places = best.indices.masked_fill(best.values == float("-inf"), -1)
    return F.pad(places, (0, n - places.shape[1]), value=-1)


def limit(positive_B: Tensor, most: float) -> Tensor:
    """Return the share `most` of the positive's score; where that is below 0, as far below it as it would be above."""
    return positive_B - (1 - most) * positive_B.abs()


def _blocks(
    model: InfEmbed,
    pairs: Sequence[AnchoredPair],
    documents: Sequence[str],
    vectors_ND: Tensor,
    right: RightDocuments,
    *,
    n: int,
    most: float,
    report: Report,
) -> Iterable[Places]:
    encoder = TorchEncoder(model)
    place = {document: number for number, document in enumerate(documents)}
    size = max(1, min(_SHARE, _SCORES // len(documents)))
    for start in range(0, len(pairs), size):
        block = pairs[start : start + size]
        queries = query_inputs([(pair.query, pair.instruction) for pair in block])
        scores_BN = torch.from_numpy(encoder.encode_queries(queries)) @ vectors_ND.T
        is_wrong_BN = torch.ones(scores_BN.shape, dtype=torch.bool)
        for row, pair in enumerate(block):
            is_wrong_BN[row, [place[document] for document in right.of(pair) if document in place]] = False
        positive_B = scores_BN[torch.arange(len(block)), [place[pair.document] for pair in block]]
        yield hardest(scores_BN, limit(positive_B, most), is_wrong_BN, n=n + _BESIDE).numpy().astype(np.int32)
        report("mining negatives", start + len(block), len(pairs))


def _encode(model: InfEmbed, documents: Sequence[str], report: Report) -> Tensor:
    encoder = TorchEncoder(model)
    found = np.empty((len(documents), model.dim), dtype=np.float32)
    for start in range(0, len(documents), _SHARE):
        share = documents[start : start + _SHARE]
        found[start : start + len(share)] = encoder.encode_documents(share)
        report("encoding documents to mine", start + len(share), len(documents))
    return torch.from_numpy(found)


def _read(path: Path, *, shape: tuple[int, int]) -> Places | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            found: Places = np.load(file)
    except (OSError, EOFError, ValueError):
        _log.warning("%s is damaged and is mined again", path)
        return None
    return found if found.shape == shape else None


def _write(path: Path, places: Places) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, places)
