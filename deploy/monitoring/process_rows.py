"""Rows of the dashboard on what a process has loaded and what it takes."""

from deploy.monitoring.panels import Colour, Kind, Panel, Query, Row, Unit
from deploy.monitoring.queries import ALL, TRACK, mean, quantiles, rate

_GOOD, _WARNING, _BAD = Colour.GOOD, Colour.WARNING, Colour.BAD

INDEX = Row(
    "Index",
    (
        Panel(
            "Age of the served generation",
            "Time since the oldest generation that a replica serves was built.",
            Unit.SECONDS,
            (Query(f"infembed:index_age_seconds:max{{{TRACK}}}", "{{collection}} {{track}}"),),
            {7 * 86400: _WARNING},
        ),
        Panel(
            "Replicas apart",
            "Build times of the newest and the oldest generation that replicas serve: above zero, one did not reload.",
            Unit.SECONDS,
            (
                Query(
                    f"max by (track, collection) (infembed_index_built_timestamp_seconds{{{TRACK}}})"
                    f" - min by (track, collection) (infembed_index_built_timestamp_seconds{{{TRACK}}})",
                    "{{collection}} {{track}}",
                ),
            ),
            {1: _WARNING},
        ),
        Panel(
            "Search, after the vector is there",
            "Index and passages, without the model.",
            Unit.SECONDS,
            quantiles("infembed_stage_duration_seconds", 'stage="search"'),
        ),
        Panel(
            "Documents",
            "Of each collection, as the replicas have it.",
            Unit.NUMBER,
            (Query(f"max by (collection) (infembed_index_documents{{{ALL}}})", "{{collection}}"),),
        ),
        Panel(
            "Size of the index files",
            "Of each collection, as the replicas have it.",
            Unit.BYTES,
            (Query(f"max by (collection) (infembed_index_size_bytes{{{ALL}}})", "{{collection}}"),),
        ),
    ),
)

MODEL = Row(
    "Model",
    (
        Panel(
            "Replicas by model",
            "More than one model on a track: the same question gets different answers.",
            Unit.NUMBER,
            (
                Query(
                    f"count by (track, name, fusion, digest, version) (infembed_model_info{{{ALL}}})",
                    "{{track}}: {{name}} {{digest}} ({{version}})",
                ),
            ),
            kind=Kind.NUMBER,
        ),
        Panel(
            "Busy share of the model",
            "At 100 % a replica does all it can.",
            Unit.SHARE,
            (Query(rate("infembed_model_busy_seconds_total", "instance"), "{{instance}}"),),
            {0.7: _WARNING, 0.95: _BAD},
        ),
        Panel("Batches", "Time of one.", Unit.SECONDS, quantiles("infembed_batch_duration_seconds")),
        Panel(
            "Inputs of a batch",
            "Mean. One: requests come one at a time, or the model is faster than they are.",
            Unit.NUMBER,
            (Query(mean("infembed_batch_inputs", "instance"), "{{instance}}"),),
        ),
        Panel(
            "Tokens",
            "Computed, of these for nothing (padding), and what a backlog drains at.",
            Unit.PER_S,
            (
                Query(rate("infembed_batch_tokens_sum", "job"), "computed"),
                Query(rate("infembed_padding_tokens_total", "job"), "padding"),
                Query(f"sum by (job) (infembed_drain_tokens_per_second{{{ALL}}})", "drained from a backlog"),
            ),
        ),
        Panel(
            "Since the last forward pass",
            "While requests wait it must not grow.",
            Unit.SECONDS,
            (Query(f"time() - infembed_last_forward_timestamp_seconds{{{ALL}}}", "{{instance}}"),),
        ),
        Panel(
            "Vectors with NaN or infinity",
            "In 15 minutes. Never sent; each was a 500.",
            Unit.NUMBER,
            (Query(f"sum by (instance) (increase(infembed_non_finite_vectors_total{{{ALL}}}[15m]))", "{{instance}}"),),
            {1: _BAD},
        ),
        Panel(
            "Reloads",
            "In an hour, by what came of them.",
            Unit.NUMBER,
            (Query(f"sum by (outcome) (increase(infembed_reloads_total{{{ALL}}}[1h]))", "{{outcome}}"),),
        ),
        Panel(
            "Last reload succeeded",
            "No: the replica serves what it served before.",
            Unit.YES_OR_NO,
            (Query(f"infembed_last_reload_successful{{{ALL}}}", "{{instance}}"),),
            {1: _GOOD},
            base=_BAD,
            kind=Kind.NUMBER,
        ),
    ),
)

PROCESS = Row(
    "Process",
    (
        Panel(
            "Answers /metrics",
            "As Prometheus sees it.",
            Unit.YES_OR_NO,
            (Query(f"up{{{ALL}}}", "{{instance}}"),),
            {1: _GOOD},
            base=_BAD,
            kind=Kind.NUMBER,
        ),
        Panel(
            "Memory, share of what it may have",
            "Resident, mapped weights included, of the container's limit.",
            Unit.SHARE,
            (Query(f"process_resident_memory_bytes{{{ALL}}} / infembed_memory_limit_bytes{{{ALL}}}", "{{instance}}"),),
            {0.9: _WARNING, 1.0: _BAD},
        ),
        Panel(
            "Memory",
            "Resident, mapped weights included.",
            Unit.BYTES,
            (Query(f"process_resident_memory_bytes{{{ALL}}}", "{{instance}}"),),
        ),
        Panel(
            "Processors in use",
            "The model, tokenizers and the event loop together.",
            Unit.NUMBER,
            (Query(rate("process_cpu_seconds_total", "instance"), "{{instance}}"),),
        ),
        Panel(
            "Open files and connections",
            "Share of what the process may open.",
            Unit.SHARE,
            (Query(f"process_open_fds{{{ALL}}} / process_max_fds{{{ALL}}}", "{{instance}}"),),
            {0.8: _WARNING},
        ),
        Panel(
            "Since the start",
            "A saw is a crash loop.",
            Unit.SECONDS,
            (Query(f"time() - process_start_time_seconds{{{ALL}}}", "{{instance}}"),),
        ),
    ),
)
