"""From text to token ids, truncated to what the model takes and honest about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from tokenizers import Encoding, Tokenizer

from infembed.bundle import TOKENIZER_FILE, Bundle, MaxTokens
from infembed.errors import AlteredArtefactError, EmptyInputError, InputTooLongError
from infembed.inputs import Fusion, InputType, TextInput, has_words, render

_CHARACTERS_PER_TOKEN = 64
"""More of a text than this for each token the model reads is not looked at; no language needs as much."""
_CHUNK = 128


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


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the tokenizer made it; `start` and `stop` are its characters in the text, None for a special one."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class _Part(NamedTuple):
    """The token ids of one text, at most `limit`; `found` says how long it was."""

    ids: tuple[int, ...]
    limit: int
    found: str
    is_truncated: bool


_NOTHING = _Part((), 0, "0 tokens", is_truncated=False)


class Reading(Protocol):
    """How a model reads inputs: a bundle's manifest says so, and so does a checkpoint's configuration."""

    @property
    def fusion(self) -> Fusion: ...

    @property
    def prompts(self) -> dict[InputType, str]: ...

    @property
    def max_tokens(self) -> MaxTokens: ...

    @property
    def max_query_tokens(self) -> int: ...


class BundleTokenizer:
    """Tokenizes inputs as one model reads them; safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, manifest: Reading) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._manifest = manifest
        probe = _special_tokens(tokenizer)
        self._n_leading = probe.index(0)
        self._n_trailing = len(probe) - self._n_leading - probe.count(0)
        self.last_id = tokenizer.get_vocab_size() - 1

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
        name_of: Callable[[int], str] = "input {}".format,
    ) -> list[TokenizedInput]:
        """Tokenize inputs in order; raises EmptyInputError or InputTooLongError with the name of the input at fault.

        An instruction that several inputs share is tokenized once. Memory is bounded by the tokens that are kept.
        """
        for position, item in enumerate(items):
            if not has_words(item.text):
                raise EmptyInputError(f"{name_of(position)} is empty; give at least one word", param="inputs")
        manifest = self._manifest
        rendered = [render(item, fusion=manifest.fusion, prompts=manifest.prompts) for item in items]
        texts = [(text.text, self._limit(item.input_type)) for item, text in zip(items, rendered, strict=True)]
        wanted = [(text.instruction or "", manifest.max_tokens.instruction) for text in rendered]
        parts = self._encode(texts, direction)
        unique = [part for part in dict.fromkeys(wanted) if part[0]]
        instructions = dict(zip(unique, self._encode(unique, direction), strict=True))
        result = []
        for position, (item, part, key) in enumerate(zip(items, parts, wanted, strict=True)):
            instruction = instructions.get(key, _NOTHING)
            if not truncate:
                both = " with its instruction" if self._joins(item) else ""
                _require_whole(part, f"{name_of(position)}{both}", param="inputs")
                _require_whole(instruction, f"the instruction of {name_of(position)}", param="instruction")
            is_truncated = part.is_truncated or instruction.is_truncated
            result.append(TokenizedInput(item.input_type, part.ids, instruction.ids, is_truncated))
        return result

    def tokens(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[list[Token]]:
        """Show the tokens of texts as they stand: whole, and without the model's prompts."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        return [_tokens(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]

    def _encode(self, texts: Sequence[tuple[str, int]], direction: TruncationDirection) -> list["_Part"]:
        """Encode texts, each with the most tokens it may have, a few at a time."""
        parts = []
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            bounded = [_bounded(text, limit * _CHARACTERS_PER_TOKEN, direction) for text, limit in chunk]
            for (text, limit), read, encoding in zip(
                chunk, bounded, self._tokenizer.encode_batch_fast(bounded), strict=True
            ):
                found = f"{len(encoding.ids)} tokens" if read is text else f"{len(text)} characters"
                is_truncated = len(encoding.ids) > limit or read is not text
                parts.append(_Part(self._truncate(encoding, limit, direction), limit, found, is_truncated))
        return parts

    def _joins(self, item: TextInput) -> bool:
        """Whether an input's instruction is in one sequence with its text, at the end, where it would be cut first."""
        has_instruction = item.input_type is InputType.QUERY and has_words(item.instruction or "")
        return has_instruction and self._manifest.fusion is Fusion.CONCAT

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


def _special_tokens(tokenizer: Tokenizer) -> list[int]:
    """Mask of the special tokens around a short text; a tokenizer that reads no letter is of no use."""
    try:
        mask: list[int] = tokenizer.encode("a").special_tokens_mask
    except Exception as error:  # the library raises bare Exception
        raise AlteredArtefactError(f"the tokenizer cannot read a letter: {error}; get the model again") from error
    if 0 not in mask:
        raise AlteredArtefactError("the tokenizer finds no token in the text 'a'; get the model again")
    return mask


def _bounded(text: str, n_characters: int, direction: TruncationDirection) -> str:
    """Return the text itself, or the end of it that is worth tokenizing: hostile texts have megabytes."""
    if len(text) <= n_characters:
        return text
    words = " ".join(text.split())
    return words[:n_characters] if direction is TruncationDirection.RIGHT else words[-n_characters:]


def _tokens(text: str, encoding: Encoding) -> list[Token]:
    found = zip(encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True)
    return [
        Token(number, token, special=True, start=None, stop=None)
        if is_special
        else Token(number, text[start:stop], special=False, start=start, stop=stop)
        for number, token, is_special, (start, stop) in found
    ]


def _require_whole(part: _Part, name: str, *, param: str) -> None:
    if part.is_truncated:
        raise InputTooLongError(
            f"{name} has {part.found}, the model takes {part.limit} tokens; shorten it or set truncate to true",
            param=param,
        )
