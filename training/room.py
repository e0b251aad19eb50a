"""What a model has room for, asked before the first step: instructions that stay whole, widths that there are."""

from collections.abc import Sequence

from infembed.config import shown
from infembed.errors import BadConfigError
from infembed.inputs import Fusion
from training.config import LossConfig
from training.mixture import Mixture
from training.model import InfEmbed, query_inputs

Wish = tuple[str, str | None]
"""A query and its instruction."""


def require_instructions_fit(model: InfEmbed, mixture: Mixture, loss: LossConfig, *, key: str = "") -> None:
    """Refuse instructions that would be cut: half a wish is another wish. `key` says whose limits are meant.

    Under `concat` the instruction stands at the end of one sequence, so a long query takes its room.
    """
    wishes: list[Wish] = list(
        dict.fromkeys((p.query, p.instruction) for row in mixture.rows for p in row.pairs() if p.instruction)
    )
    tried: list[Wish] = [("a", instruction) for instruction in dict.fromkeys(instruction for _, instruction in wishes)]
    what, limit = "instructions", f"max_tokens.instruction = {model.config.max_tokens.instruction}"
    is_joined = model.config.fusion is Fusion.CONCAT
    if is_joined:
        tried = _with_the_longest(model, wishes, tried) if loss.uses_variants and tried else wishes
        what = "queries with an instruction that they may get"
        limit = f"max_tokens.query + max_tokens.instruction = {model.config.max_query_tokens}"
    tokenized = model.tokenize(query_inputs(tried))
    cut = [wish for wish, item in zip(tried, tokenized, strict=True) if item.is_truncated]
    if cut:
        example = " ".join(map(str, cut[0])) if is_joined else cut[0][1]
        raise BadConfigError(
            f"{len(cut):,} of {len(tried):,} {what} have more than {key}{limit} tokens, such as {shown(example)}; "
            "raise it, or take these rows out"
        )


def require_widths_fit(model: InfEmbed, loss: LossConfig) -> None:
    """Refuse widths beyond the model's own."""
    if (widest := max(loss.dimensions, default=0)) > model.dim:
        raise BadConfigError(
            f"loss.dimensions asks for vectors of {widest}, {model.config.base} has {model.dim}; ask for no more"
        )


def _with_the_longest(model: InfEmbed, wishes: Sequence[Wish], alone: Sequence[Wish]) -> list[Wish]:
    """Give every query the instruction with the most tokens: term I may try it with any."""
    tokenized = model.tokenize(query_inputs(alone))
    longest = max(range(len(alone)), key=lambda number: tokenized[number].n_tokens)
    return [(query, alone[longest][1]) for query in dict.fromkeys(query for query, _ in wishes)]
