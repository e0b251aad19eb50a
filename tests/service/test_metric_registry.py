"""Metrics that start at zero and can be listed."""

from service.metric_registry import MetricRegistry


def test_what_can_be_counted_starts_at_zero_and_nothing_else_does() -> None:
    registry = MetricRegistry()
    registry.counter("pies", "Pies.", filling=("apple", "plum"))
    registry.counter("guests", "Guests.", name=None)
    lines = registry.render().decode().splitlines()
    assert [line for line in lines if line.startswith("pies")] == [
        'pies_total{filling="apple"} 0.0',
        'pies_total{filling="plum"} 0.0',
    ]
    assert not [line for line in lines if line.startswith("guests")]


def test_the_list_names_what_is_rendered_with_labels_and_their_values() -> None:
    registry = MetricRegistry()
    registry.counter("pies", "Pies.", filling=("apple", "plum"))
    registry.histogram("baking_seconds", "Baking.", (0.5, 2), oven=None).labels("left").observe(1)
    registry.gauge("heat", "Heat.")
    registry.info("kitchen", "The kitchen.", ["name"]).info({"name": "ours"})
    listed = {series.name: series.labels for series in registry.series() if not series.name.startswith("process_")}
    assert listed == {
        "pies_total": {"filling": {"apple", "plum"}},
        "baking_seconds_bucket": {"oven": None, "le": {"0.5", "2.0", "+Inf"}},
        "baking_seconds_sum": {"oven": None},
        "baking_seconds_count": {"oven": None},
        "heat": {},
        "kitchen_info": {"name": None},
    }
    lines = registry.render().decode().splitlines()
    rendered = {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}
    assert rendered == {series.name for series in registry.series()}


def test_the_process_is_listed_and_no_counter_has_a_second_series() -> None:
    registry = MetricRegistry()
    registry.counter("pies", "Pies.")
    assert "process_resident_memory_bytes" in {series.name for series in registry.series()}
    assert b"_created" not in registry.render()
