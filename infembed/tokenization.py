"""From text to token ids, truncated to what the model takes and honest about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from infembed.bundle import TOKENIZER_FILE, Bundle, BundleManifest
from infembed.errors import AlteredArtefactError, EmptyInputError, InputTooLongError
from infembed.inputs import InputType, RenderedInput, TextInput, render


class TruncationDirection(StrEnum):
    """Which end of a too long text is cut off."""

    RIGHT = "right"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class TokenizedInput:
    """An input ready for the model; `instruction_ids` is empty without an instruction of its own."""

    input_type: InputType
    ids: tuple[int, ...]
    instruction_ids: tuple[int, ...] = ()
    is_truncated: bool = False

    @property
    def n_tokens(self) -> int:
        """Tokens the model reads for this input, instruction included."""
        return len(self.ids) + len(self.instruction_ids)


class BundleTokenizer:
    """Tokenizes inputs as one bundle's model reads them; safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, manifest: BundleManifest) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._manifest = manifest
        probe = tokenizer.encode("a").special_tokens_mask
        self._n_leading = probe.index(0)
        self._n_trailing = len(probe) - self._n_leading - probe.count(0)

    @classmethod
    def open(cls, bundle: Bundle) -> "BundleTokenizer":
        path: Path = bundle.path / TOKENIZER_FILE
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise AlteredArtefactError(f"{path} is not a tokenizer: {error}") from error
        return cls(tokenizer, bundle.manifest)

    def tokenize(
        self,
        items: Sequence[TextInput],
        *,
        truncate: bool = True,
        direction: TruncationDirection = TruncationDirection.RIGHT,
    ) -> list[TokenizedInput]:
        """Tokenize inputs in order; raises EmptyInputError or InputTooLongError naming the input's position.

        An instruction that several inputs share is tokenized once.
        """
        manifest = self._manifest
        rendered = [render(item, fusion=manifest.fusion, prompts=manifest.prompts) for item in items]
        for position, item in enumerate(items):
            if not item.text.strip():
                raise EmptyInputError(f"input {position} is empty; give at least one word", param="inputs")
        encodings = self._tokenizer.encode_batch_fast([text.text for text in rendered])
        instructions = self._encode_instructions(rendered)
        result = []
        for position, (item, text, encoding) in enumerate(zip(items, rendered, encodings, strict=True)):
            parts = [(encoding, self._limit(item.input_type), "input")]
            if text.instruction is not None:
                limit = manifest.max_tokens.instruction
                parts.append((instructions[text.instruction], limit, "the instruction of input"))
            cut = []
            for part, limit, what in parts:
                if len(part.ids) > limit and not truncate:
                    raise InputTooLongError(
                        f"{what} {position} has {len(part.ids)} tokens, the model takes {limit}; "
                        "shorten it or set truncate to true",
                        param="inputs" if part is encoding else "instruction",
                    )
                cut.append(self._truncate(part, limit, direction))
            result.append(
                TokenizedInput(
                    input_type=item.input_type,
                    ids=cut[0],
                    instruction_ids=cut[1] if len(cut) > 1 else (),
                    is_truncated=any(len(part.ids) > limit for part, limit, _ in parts),
                )
            )
        return result

    def _encode_instructions(self, rendered: Sequence[RenderedInput]) -> dict[str, Encoding]:
        unique = list(dict.fromkeys(text.instruction for text in rendered if text.instruction is not None))
        return dict(zip(unique, self._tokenizer.encode_batch_fast(unique), strict=True))

    def _limit(self, input_type: InputType) -> int:
        if input_type is InputType.DOCUMENT:
            return self._manifest.max_tokens.document
        return self._manifest.max_query_tokens

    def _truncate(self, encoding: Encoding, limit: int, direction: TruncationDirection) -> tuple[int, ...]:
        """Cut text tokens, keeping the special tokens at both ends."""
        ids = encoding.ids
        if len(ids) <= limit:
            return tuple(ids)
        head, tail = ids[: self._n_leading], ids[len(ids) - self._n_trailing :]
        body = ids[self._n_leading : len(ids) - self._n_trailing]
        room = limit - self._n_leading - self._n_trailing
        kept = body[:room] if direction is TruncationDirection.RIGHT else body[-room:]
        return (*head, *kept, *tail)
