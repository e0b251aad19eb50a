"""A good training row to change one thing of."""

from training.corpus.rows import Row

VALUES: dict[str, object] = {
    "query_positive": "keep slugs off lettuce",
    "instruction_positive": "No chemicals.",
    "document_positive": "Copper tape rings the bed, and a torch at ten o'clock finds the rest of them.",
    "instruction_negative": "Which pellets, and how many?",
    "hard_negative_document_1": "Ferric phosphate is scattered at five grams per square metre after rain.",
    "query_negative": "aphids on beans",
    "hard_negative_document_2": "Pinch out the tips and spray them off with a jet of plain water.",
    "source": "test",
    "license": "Apache-2.0",
}


def make_row(**changes: object) -> Row:
    return Row.model_validate({**VALUES, **changes})
