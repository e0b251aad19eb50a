from training.corpus.recipes.terms import Terms, judge_term, surface

_MEDICINE = [
    "The surgeon stitches the wound with silk and asks for the scalpel.",
    "A wound of the leg is cleaned with vinegar and covered with silk.",
    "The court sends for the barber and for silk.",
    *("A visit to the spa and a walk in the rain." for _ in range(30)),
]


def test_the_terms_of_a_document_are_nouns_that_few_others_have() -> None:
    terms = Terms(_MEDICINE, [])
    assert terms.salient(_MEDICINE[0]) == ["silk"], "wound and scalpel stand in fewer than three documents"
    assert [_MEDICINE[number] for number in terms.documents_with("silk")] == _MEDICINE[:3]


def test_a_word_of_every_field_is_no_term_of_one() -> None:
    assert Terms(_MEDICINE, ["Silk is a protocol.", "Install silk.", "Run silk again."]).salient(_MEDICINE[0]) == []


def test_a_text_mentions_a_term_or_does_not_or_has_a_word_of_its_family_only() -> None:
    assert judge_term("Two Wounds were cleaned.", "wound") is True
    assert judge_term("The barber was sent for.", "wound") is False
    assert judge_term("The wounded barber was sent for.", "wound") is None
    assert judge_term("The wound of the leg healed.", "leg wound") is None


def test_a_term_is_written_as_its_document_writes_it() -> None:
    assert surface("Ask for DNA here.", "dna") == "DNA"
    assert surface("Silk is fine; silk it is.", "silk") == "silk"
