import re
from html.parser import HTMLParser

import numpy as np
import pytest

from evaluation.gate import Policy, decide
from evaluation.page import contest_page, report_page
from evaluation.page.words import MINUS
from evaluation.report import (
    DocumentMove,
    Effect,
    Measure,
    QueryMoves,
    Report,
    SuiteScores,
    TopicMoves,
    TopicScores,
)
from evaluation.summary import summarize
from tests.evaluation.pictured import ObedientEncoder, scored, small_suite

EVIL = "<script>alert('x')</script> & \"quotes\""
_VOID = {"meta", "br", "path", "use", "rect"}


class Page(HTMLParser):
    """What a browser would make of a page: elements, ids, text; refuses tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _moves(topic: str, p_mrr: float) -> TopicMoves:
    moves = tuple(
        DocumentMove(document=f"d{n}", excerpt=f"{topic} {EVIL}", effect=effect, rank_before=n + 1, rank_after=9 - n)
        for n, effect in enumerate(Effect)
    )
    query = QueryMoves(
        text=EVIL,
        original_instruction=EVIL,
        changed_instruction=EVIL,
        instruction_type="facet",
        p_mrr=p_mrr,
        documents=moves,
    )
    return TopicMoves(topic=topic, p_mrr=p_mrr, queries=(query,))


def _with_moves(report: Report) -> Report:
    """Give every suite twelve best and worst topics with hostile text."""
    suites = tuple(
        scores.model_copy(update={"moves": tuple(_moves(f"{scores.suite} topic {n}", 0.9 - n / 8) for n in range(12))})
        for scores in report.suites
    )
    return report.model_copy(update={"suites": suites})


@pytest.fixture(scope="module")
def champion() -> Report:
    suites = [small_suite(name="one", n_topics=30), small_suite(name="two<&$x$", n_topics=12)]
    return _with_moves(scored(ObedientEncoder(0.2), suites, name=f"champion {EVIL}"))


@pytest.fixture(scope="module")
def candidate() -> Report:
    suites = [small_suite(name="one", n_topics=30), small_suite(name="two<&$x$", n_topics=12)]
    return _with_moves(scored(ObedientEncoder(0.5), suites, name="candidate"))


@pytest.fixture(scope="module")
def page(champion: Report) -> str:
    return report_page(champion)


@pytest.fixture(scope="module")
def contest(champion: Report, candidate: Report) -> str:
    return contest_page(champion, candidate, decide(champion, candidate, Policy()))


def test_text_of_documents_queries_and_models_is_never_markup(page: str, contest: str) -> None:
    for html in (page, contest):
        parsed = Page(html)
        assert "script" not in parsed.tags
        assert EVIL in parsed.text
        assert "two<&$x$" in parsed.text


def test_a_page_needs_no_other_file(page: str, contest: str) -> None:
    for html in (page, contest):
        parsed = Page(html)
        assert not {"script", "link", "img", "iframe", "object", "embed"} & set(parsed.tags)
        loads = [value for name, value in parsed.attributes if name in {"src", "href", "xlink:href", "srcset"}]
        assert all(value is not None and value.startswith("#") for value in loads)
        assert "@import" not in html
        assert not [found for found in re.findall(r"url\(([^)]*)", html) if not found.startswith("#")]


def test_every_picture_says_aloud_what_it_shows(page: str, champion: Report) -> None:
    parsed = Page(page)
    assert parsed.tags.count("svg") == 3
    assert parsed.attributes.count(("role", "img")) == 3
    labels = [value.split() for name, value in parsed.attributes if name == "aria-labelledby" and value]
    assert {part for label in labels for part in label} <= set(parsed.ids)
    one = summarize(champion).suites["one"][Measure.P_MRR]
    assert f"one: {one.mean * 100:+.1f} (".replace("-", MINUS) in parsed.text


def test_ids_are_unique_and_every_reference_has_its_target(page: str, contest: str) -> None:
    for html in (page, contest):
        parsed = Page(html)
        assert len(parsed.ids) == len(set(parsed.ids))
        assert set(re.findall(r'(?:url\(#|xlink:href="#)([^")]+)', html)) <= set(parsed.ids)


def test_pictures_take_the_colours_and_the_font_of_the_page(page: str) -> None:
    assert not re.search(r"#00000\d", page)
    assert "DejaVu" not in page
    for variable in set(re.findall(r"var\((--[a-z-]+)\)", page)):
        assert f"{variable}:" in page, variable


def test_light_dark_and_paper_are_looked_after(page: str) -> None:
    assert "@media (prefers-color-scheme: dark)" in page
    assert "@media print" in page
    assert '<html lang="en">' in page
    assert 'name="viewport"' in page


def test_the_header_names_model_suites_and_digests(page: str, champion: Report) -> None:
    text = Page(page).text
    for expected in (
        champion.model.digest,
        champion.model.document_fingerprint,
        champion.created_at,
        "one",
        "two<&$x$",
    ):
        assert expected in text
    assert champion.suites[0].digest in page


def test_every_measure_of_every_suite_is_in_its_table(page: str, champion: Report) -> None:
    text = Page(page).text
    for scores in champion.suites:
        for measure in Measure:
            if scores.values_of(measure):
                mean = float(np.mean(list(scores.values_of(measure).values()))) * 100
                assert f"{mean:.1f}".replace("-", MINUS) in text
    assert "95 % interval" in text


def test_the_ten_best_and_the_ten_worst_topics_are_shown_with_their_moves(page: str) -> None:
    text = Page(page).text
    best, worst = text.split("The 10 best topics")[1].split("The 10 worst topics")
    assert best.index("topic 0") < best.index("topic 4")
    assert worst.index("topic 11") < worst.index("topic 7")
    assert not set(re.findall(r"one topic \d+", best)) & set(re.findall(r"one topic \d+", worst))
    assert best.count("1 → 9 ✓should fall") == 10
    assert best.count("2 → 8 ✗should stay") == 10
    assert best.count("3 → 7 ✗should rise") == 10


def test_a_contest_shows_the_verdict_its_reasons_and_every_difference(
    contest: str, champion: Report, candidate: Report
) -> None:
    decision = decide(champion, candidate, Policy())
    text = " ".join(Page(contest).text.split())
    assert decision.verdict in text
    for check in decision.checks:
        assert check.reason in text
    for suite in ("one", "two<&$x$"):
        before, after = (report.suite(suite).values_of(Measure.P_MRR) for report in (champion, candidate))
        change = float(np.mean([after[topic] - before[topic] for topic in before])) * 100
        assert f"{suite}: {change:+.1f} (".replace("-", MINUS) in text
    assert "type exclusion: " in text
    assert "p95" in text


def test_what_decided_stands_first_when_a_candidate_does_not_pass(champion: Report) -> None:
    decision = decide(champion, champion, Policy())
    html = contest_page(champion, champion, decision)
    assert html.index("What decided") < html.index("Every check")
    assert contest_page(champion, champion, decision.model_copy(update={"verdict": "PASS"})).count("What decided") == 0


def test_a_run_that_was_cut_short_still_gets_its_page(champion: Report, candidate: Report) -> None:
    first, second = candidate.suites
    cut = candidate.model_copy(update={"suites": (first.model_copy(update={"topics": first.topics[:-1]}), second)})
    html = contest_page(champion, cut, decide(champion, cut, Policy()))
    assert "cut short" in Page(html).text


def test_a_report_of_plain_retrieval_has_no_pictures_and_no_empty_headings() -> None:
    topics = tuple(TopicScores(topic=str(n), values={Measure.NDCG: 0.5, Measure.PLAIN_NDCG: 0.5}) for n in range(4))
    plain = SuiteScores(suite="plain", digest="0" * 64, n_documents=1, n_queries=4, topics=topics)
    report = scored(ObedientEncoder(0), [small_suite(n_topics=1)], name="m").model_copy(update={"suites": (plain,)})
    parsed = Page(report_page(report))
    assert "svg" not in parsed.tags
    assert "Does it follow instructions?" not in parsed.text
    assert "best topics" not in parsed.text
    assert "no interval: 4 topics" in parsed.text


def test_suites_that_were_left_out_are_named_with_the_reason(champion: Report) -> None:
    report = champion.model_copy(update={"notes": {"left_out": {"npl": "there is no data/npl"}}})
    assert "npl (there is no data/npl)" in Page(report_page(report)).text


def test_the_same_report_gives_the_same_page(champion: Report, page: str) -> None:
    assert report_page(champion) == page
