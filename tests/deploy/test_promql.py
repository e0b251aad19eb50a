"""What the checker of queries says about each way in which a query can lie."""

import pytest

from deploy.monitoring.check import problems
from deploy.monitoring.exported import in_kubernetes, with_recorded
from deploy.monitoring.promql import PLACEHOLDER, Catalogue, Checked
from deploy.monitoring.written import Written

STAGES = frozenset({"queue", "search"})
BUCKETS = frozenset({"0.1", "1.0", "+Inf"})
CATALOGUE: Catalogue = {
    "up": {"job": None},
    "pies_total": {"job": None, "oven": None},
    "guests": {"job": None},
    "baking_seconds_bucket": {"job": None, "stage": STAGES, "le": BUCKETS},
    "baking_seconds_count": {"job": None, "stage": STAGES},
}


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("rate(pies_totals[5m])", "there is no metric pies_totals; did you mean pies_total?"),
        ("sum(rate(pies_total[5m])", "is no PromQL"),
        ("rate(pies_total)", "is no PromQL"),
        ('pies_total{plate="1"}', "pies_total has no label plate; it has job, oven"),
        ('baking_seconds_count{stage="queu"}', "label stage is never queu; it is one of queue, search"),
        ('baking_seconds_count{stage!="queu"}', "label stage is never queu"),
        ('baking_seconds_count{stage=~"queue|serch"}', "label stage is never serch"),
        ('baking_seconds_count{stage=~"q.+x"}', "label stage is never q.+x"),
        ('baking_seconds_bucket{le="0.25"}', "label le is never 0.25"),
        ('{__name__="pie_total"}', "there is no metric pie_total"),
        ('{job="x"}', "names no metric"),
        ("sum by (plate) (pies_total)", "sum by names plate, which is no label there; there is job, oven"),
        ("sum by (oven) (sum by (job) (pies_total))", "sum by names oven"),
        ("histogram_quantile(0.9, sum by (job) (rate(baking_seconds_bucket[5m])))", "gets no label le"),
        ("sum by (job) (pies_total) / sum(guests)", "the sides of / never match: only one of them has job"),
        ("pies_total and guests", "the sides of and never match: only one of them has oven"),
        ("pies_total / on (oven) guests", "/ on names oven, which is no label there; there is job"),
        ("pies_total / ignoring (job) guests", "the sides of / never match: only one of them has oven"),
        ("pies_total / on (job) group_left (stage) guests", "group_left names stage"),
        ("absent(upp)", "there is no metric upp"),
        ("max_over_time(sum(pies)[1h:5m])", "there is no metric pies"),
        ("label_replace(pies, 'a', '$1', 'b', '(.*)')", "there is no metric pies"),
    ],
)
def test_a_query_that_finds_nothing_is_told_why(expression: str, problem: str) -> None:
    found = Checked(expression, CATALOGUE).problems
    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ('pies_total{oven="any"}', {"job", "oven"}),
        ("sum by (job) (rate(pies_total[5m])) / sum by (job) (guests)", {"job"}),
        ("pies_total / on (job) group_left () guests", {"job", "oven"}),
        ("pies_total / ignoring (oven) group_left () guests", {"job", "oven"}),
        ("guests * on (job) group_right () pies_total", {"job", "oven"}),
        ("pies_total and on (job) guests", {"job", "oven"}),
        ("sum without (oven) (pies_total) or guests", {"job"}),
        ("sum(pies_total) or on () vector(0)", set()),
        ("time() - guests > 5", {"job"}),
        ("1 - -guests", {"job"}),
        ("topk(3, pies_total)", {"job", "oven"}),
        ("count_values('n', guests)", {"n"}),
        ('absent(up{job="x",job!=""})', {"job"}),
        ("histogram_quantile(0.9, sum by (stage, le) (rate(baking_seconds_bucket[5m])))", {"stage"}),
        ('baking_seconds_bucket{le=~"0.1|1.0",stage=~"qu.*"}', {"job", "stage", "le"}),
        ("label_replace(guests, 'oven', '$1', 'job', '(.*)')", {"job", "oven"}),
        (f'baking_seconds_count{{stage="{PLACEHOLDER}"}}', {"job", "stage"}),
        ("guests offset 1d", {"job"}),
        ("quantile_over_time(0.5, guests[1h:5m])", {"job"}),
    ],
)
def test_the_labels_of_a_result_are_known(expression: str, labels: set[str]) -> None:
    checked = Checked(expression, CATALOGUE)
    assert checked.problems == []
    assert checked.labels == frozenset(labels)


def test_problems_name_the_file_and_the_place() -> None:
    written = [Written("docs/page.md", "line 7", "guets")]
    assert list(map(str, problems(written, CATALOGUE))) == [
        "docs/page.md: line 7: there is no metric guets; did you mean guests?"
    ]


def test_what_a_rule_records_is_known_with_the_labels_it_keeps() -> None:
    rules = [Written("rules.yml", "pies", "sum by (job) (pies_total)", records="job:pies:sum")]
    assert set(with_recorded(CATALOGUE, rules)["job:pies:sum"]) == {"job"}
    wrong = Written("dashboard.json", "Pies", 'job:pies:sum{oven="left"}')
    (problem,) = problems([*rules, wrong], CATALOGUE)
    assert "job:pies:sum has no label oven; it has job" in problem.problem


def test_text_around_a_query_may_name_only_labels_of_its_result() -> None:
    written = [Written("rules.yml", "Hungry", "sum by (job) (pies_total) == 0", named=frozenset({"job", "instance"}))]
    (problem,) = problems(written, CATALOGUE)
    assert "its text names instance" in problem.problem


def test_manifests_may_use_the_labels_of_the_operator_and_others_may_not() -> None:
    expression = 'guests{namespace="x"}'
    assert problems([Written("deploy/canary/analysis.yaml", "query", expression)], CATALOGUE) == []
    assert len(problems([Written("docs/page.md", "line 1", expression)], CATALOGUE)) == 1
    assert "namespace" in in_kubernetes(CATALOGUE)["guests"]
