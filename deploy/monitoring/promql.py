"""What a PromQL expression reads, and which labels its result has, held against what is exported.

A query of a metric that does not exist is no error to Prometheus: it finds nothing, and an alert on that never fires.
The same goes for a label, a label's value, a bucket, and two sides of an operator whose labels never match.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

import promql_parser as ast

Labels = frozenset[str]
Catalogue = Mapping[str, Mapping[str, frozenset[str] | None]]
"""Series by name: their labels, and the values each can have; None: any."""

PLACEHOLDER = "PLACEHOLDER"
"""Stands in an expression for what only its user fills in, such as a variable of a dashboard."""
_TIME = frozenset({"time", "vector", "scalar", "pi"})
_SETS = frozenset({"and", "or", "unless"})
_ALTERNATIVE = re.compile(r"[\w/:. -]*")


class Checked:
    """An expression with what is wrong with it, and the labels of its result; None: whatever there is."""

    def __init__(self, expression: str, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.problems: list[str] = []
        self.labels: Labels | None = None
        try:
            parsed = ast.parse(expression)
        except ValueError as error:
            self.problems.append(f"is no PromQL: {error}")
        else:
            self.labels = self._read(parsed)

    def _read(self, node: object) -> Labels | None:
        match node:
            case ast.VectorSelector():
                return self._selector(node)
            case ast.MatrixSelector():
                return self._selector(node.vector_selector)
            case ast.ParenExpr() | ast.UnaryExpr() | ast.SubqueryExpr():
                return self._read(node.expr)
            case ast.Call():
                return self._call(node)
            case ast.AggregateExpr():
                return self._aggregate(node)
            case ast.BinaryExpr():
                return self._binary(node)
        return frozenset()

    def _selector(self, node: ast.VectorSelector) -> Labels | None:
        matchers = [matcher for group in (node.matchers.matchers, *node.matchers.or_matchers) for matcher in group]
        name = node.name or next((m.value for m in matchers if m.name == "__name__"), None)
        if name is None:
            self.problems.append(f"{node} names no metric")
            return None
        known = self._catalogue.get(name)
        if known is None:
            self.problems.append(f"there is no metric {name}{_nearest(name, self._catalogue)}")
            return None
        for matcher in matchers:
            if matcher.name != "__name__":
                self._matcher(name, known, matcher)
        return frozenset(known)

    def _matcher(self, metric: str, known: Mapping[str, frozenset[str] | None], matcher: ast.Matcher) -> None:
        if matcher.name not in known:
            has = ", ".join(sorted(known)) or "none"
            self.problems.append(f"{metric} has no label {matcher.name}; it has {has}")
            return
        values = known[matcher.name]
        if values is None or PLACEHOLDER in matcher.value:
            return
        is_regex = matcher.op in (ast.MatchOp.Re, ast.MatchOp.NotRe)
        for wanted in _wanted(matcher.value) if is_regex else [matcher.value]:
            if not any(re.fullmatch(wanted, value) if is_regex else wanted == value for value in values):
                few = ", ".join(sorted(values)) if len(values) < 30 else f"{len(values)} others"
                self.problems.append(f"{metric}: label {matcher.name} is never {wanted}; it is one of {few}")

    def _call(self, node: ast.Call) -> Labels | None:
        name = node.func.name
        found = [self._read(argument) for argument in node.args]
        if name in _TIME:
            return frozenset()
        if name in {"absent", "absent_over_time"}:
            return _equalled(node.args[0])
        labels = next((found[i] for i, one in enumerate(node.args) if not _is_scalar(one)), frozenset())
        if labels is None:
            return None
        if name == "histogram_quantile":
            if "le" not in labels:
                self.problems.append(f"{name} gets no label le: it needs buckets, and le in every `by`")
            return labels - {"le"}
        if name in {"label_replace", "label_join"}:
            return labels | {node.args[1].val}
        return labels

    def _aggregate(self, node: ast.AggregateExpr) -> Labels | None:
        labels = self._read(node.expr)
        if node.modifier is None:
            kept: Labels = frozenset()
        elif node.modifier.type == ast.AggModifierType.By:
            kept = frozenset(node.modifier.labels)
            self._require(kept, labels, f"{node.op} by")
        elif labels is None:
            return None
        else:
            kept = labels - frozenset(node.modifier.labels)
        if str(node.op) in {"topk", "bottomk", "limitk", "limit_ratio"}:
            return labels
        return kept | {node.param.val} if str(node.op) == "count_values" and node.param else kept

    def _binary(self, node: ast.BinaryExpr) -> Labels | None:
        left, right = self._read(node.lhs), self._read(node.rhs)
        if _is_scalar(node.lhs) or _is_scalar(node.rhs):
            return right if _is_scalar(node.lhs) else left
        if left is None or right is None:
            return None
        matching = node.modifier.matching if node.modifier else None
        if matching is None:
            self._require_equal(node, left, right)
            return left
        named = frozenset(matching.labels)
        if matching.type == ast.LabelModifierType.Include:
            self._require(named, left, f"{node.op} on")
            self._require(named, right, f"{node.op} on")
            matched = named
        else:
            self._require_equal(node, left - named, right - named)
            matched = left - named
        return self._result(node, left, right, matched)

    def _result(self, node: ast.BinaryExpr, left: Labels, right: Labels, matched: Labels) -> Labels:
        assert node.modifier is not None
        if str(node.op) in _SETS:
            return left
        card, taken = node.modifier.card, frozenset(node.modifier.group_labels or ())
        if card == ast.VectorMatchCardinality.ManyToOne:
            self._require(taken, right, "group_left")
            return left | taken
        if card == ast.VectorMatchCardinality.OneToMany:
            self._require(taken, left, "group_right")
            return right | taken
        return matched

    def _require(self, wanted: Iterable[str], labels: Labels | None, what: str) -> None:
        if labels is not None:
            has = ", ".join(sorted(labels)) or "none"
            self.problems += [
                f"{what} names {name}, which is no label there; there is {has}"
                for name in sorted(wanted)
                if name not in labels
            ]

    def _require_equal(self, node: ast.BinaryExpr, left: Labels, right: Labels) -> None:
        if left != right:
            only = ", ".join(sorted(left ^ right))
            self.problems.append(f"the sides of {node.op} never match: only one of them has {only}; say on or ignoring")


def _is_scalar(node: object) -> bool:
    match node:
        case ast.NumberLiteral() | ast.StringLiteral():
            return True
        case ast.Call():
            return node.func.name in {"time", "scalar", "pi"}
        case ast.ParenExpr() | ast.UnaryExpr():
            return _is_scalar(node.expr)
        case ast.BinaryExpr():
            return _is_scalar(node.lhs) and _is_scalar(node.rhs)
    return False


def _equalled(node: object) -> Labels:
    """Return the labels of `absent`: those that its selector fixes."""
    vector = node.vector_selector if isinstance(node, ast.MatrixSelector) else node
    if not isinstance(vector, ast.VectorSelector):
        return frozenset()
    return frozenset(m.name for m in vector.matchers.matchers if m.op == ast.MatchOp.Equal and m.name != "__name__")


def _wanted(regex: str) -> list[str]:
    """Split a plain alternation, so that each of its words must be possible."""
    words = regex.split("|")
    return words if all(map(_ALTERNATIVE.fullmatch, words)) else [regex]


def _nearest(name: str, names: Iterable[str]) -> str:
    found = get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""
