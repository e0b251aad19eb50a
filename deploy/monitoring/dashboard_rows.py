"""What the dashboard shows: rows of panels and the queries behind them."""

from deploy.monitoring.panels import Colour, Kind, Panel, Query, Row, Unit

_GOOD, _WARNING, _BAD = Colour.GOOD, Colour.WARNING, Colour.BAD
_ALL = 'job="inf-embed",track=~"$track",instance=~"$instance"'
_TRACK = 'job="inf-embed",track=~"$track"'


def _rate(counter: str, by: str, where: str = "", window: str = "$__rate_interval") -> str:
    return f"sum by ({by}) (rate({counter}{{{_ALL}{',' if where else ''}{where}}}[{window}]))"


def _quantile(share: float, histogram: str, *, by: str = "", where: str = "", window: str = "$__rate_interval") -> str:
    buckets = _rate(f"{histogram}_bucket", f"{by}, le" if by else "le", where, window)
    return f"histogram_quantile({share}, {buckets})"


def _quantiles(histogram: str, where: str = "", window: str = "$__rate_interval") -> tuple[Query, ...]:
    return tuple(
        Query(_quantile(share, histogram, where=where, window=window), f"p{share * 100:g}")
        for share in (0.5, 0.95, 0.99)
    )


def _mean(histogram: str, by: str, where: str = "") -> str:
    return f"{_rate(f'{histogram}_sum', by, where)} / {_rate(f'{histogram}_count', by, where)}"


_TRAFFIC = Row(
    "Traffic",
    (
        Panel(
            "Requests by route",
            "All requests, health checks included.",
            Unit.REQUESTS_PER_S,
            (Query(_rate("infembed_requests_total", "route"), "{{route}}"),),
            is_stacked=True,
        ),
        Panel(
            "Requests by status",
            "499: the client hung up before the answer.",
            Unit.REQUESTS_PER_S,
            (Query(_rate("infembed_requests_total", "status"), "{{status}}"),),
            is_stacked=True,
        ),
        Panel(
            "Failed requests (5xx)",
            "Of those that embed or search. Objective: 0.1 %; at 1.44 % the month's budget is spent in two days.",
            Unit.SHARE,
            (Query(f"infembed:requests_failed:ratio5m{{{_TRACK}}}", "{{track}}"),),
            {0.001: _WARNING, 0.0144: _BAD},
        ),
        Panel(
            "Inputs by kind",
            "What is embedded. Queries without instruction use half of what this service is for.",
            Unit.PER_S,
            (Query(_rate("infembed_inputs_total", "kind"), "{{kind}}"),),
            is_stacked=True,
        ),
        Panel(
            "Inputs cut to the model's length",
            "What is beyond it is not embedded and cannot be found.",
            Unit.SHARE,
            (Query(f"infembed:inputs_truncated:ratio30m{{{_TRACK}}}", "{{track}}"),),
            {0.05: _WARNING},
        ),
        Panel(
            "Error answers by class",
            "Validation, Empty and NotFound are the client's; Backend is ours.",
            Unit.REQUESTS_PER_S,
            (Query(_rate("infembed_errors_total", "error_type"), "{{error_type}}"),),
        ),
    ),
)

_LATENCY = Row(
    "Latency by stage",
    (
        Panel(
            "Interactive requests",
            "From the first byte of the request to the last of the answer. Objective: 99 % within 256 ms.",
            Unit.SECONDS,
            _quantiles("infembed_request_duration_seconds", 'lane="interactive"'),
            {0.256: _WARNING},
        ),
        Panel(
            "Slow interactive requests",
            "Share beyond 256 ms. Objective: 1 %; at 14.4 % the month's budget is spent in two days.",
            Unit.SHARE,
            (Query(f"infembed:requests_slow:ratio5m{{{_TRACK}}}", "{{track}}"),),
            {0.01: _WARNING, 0.144: _BAD},
        ),
        Panel(
            "Interactive requests, p95 by stage",
            "Which stage to look at first. Quantiles of stages do not add up to that of the whole.",
            Unit.SECONDS,
            (
                Query(
                    _quantile(0.95, "infembed_stage_duration_seconds", by="stage", where='lane="interactive"'),
                    "{{stage}}",
                ),
            ),
        ),
        Panel(
            "Interactive requests, how many take how long",
            "Two bands are two kinds of requests, which quantiles hide.",
            Unit.SECONDS,
            (
                Query(
                    "sum by (le) (increase(infembed_request_duration_seconds_bucket"
                    f'{{{_ALL},lane="interactive"}}[$__rate_interval]))',
                    "{{le}}",
                ),
            ),
            kind=Kind.HEATMAP,
            width=16,
        ),
        Panel(
            "Bulk requests, mean by stage",
            "They take as long as they are large, and wait by design.",
            Unit.SECONDS,
            (Query(_mean("infembed_stage_duration_seconds", "stage", 'lane="bulk"'), "{{stage}}"),),
        ),
    ),
)

_QUEUE = Row(
    "Queue and admission",
    (
        Panel(
            "Wait of interactive requests, p95",
            "Scale on this. At 128 ms half of the latency objective is spent waiting.",
            Unit.SECONDS,
            (Query(f"infembed:queue_wait_seconds:p95_5m{{{_TRACK}}}", "{{track}}"),),
            {0.128: _WARNING, 0.256: _BAD},
        ),
        Panel(
            "Refused for want of room (429)",
            "Clients beyond a rate limit of their own are left out.",
            Unit.SHARE,
            (Query(f"infembed:requests_refused:ratio5m{{{_TRACK}}}", "{{track}}"),),
            {0.01: _WARNING},
        ),
        Panel(
            "Refusals by lane, and rate limits",
            "A full bulk lane refuses bulk and nothing else.",
            Unit.REQUESTS_PER_S,
            (
                Query(_rate("infembed_refused_requests_total", "lane"), "{{lane}}"),
                Query(_rate("infembed_rate_limited_requests_total", "job"), "rate limit"),
            ),
        ),
        Panel(
            "Tokens waiting or running",
            "Against INFEMBED_MAX_QUEUED_TOKENS and INFEMBED_MAX_BULK_TOKENS.",
            Unit.NUMBER,
            (Query(f"infembed_queue_tokens{{{_ALL}}}", "{{instance}}"),),
        ),
        Panel(
            "Inputs waiting",
            "Above zero all the time: the model is the bottleneck.",
            Unit.NUMBER,
            (Query(f"infembed_queue_inputs{{{_ALL}}}", "{{instance}}"),),
        ),
        Panel(
            "Dropped before the model",
            "expired: the deadline passed in the queue; cancelled: the client went away.",
            Unit.PER_S,
            (Query(_rate("infembed_dropped_inputs_total", "reason"), "{{reason}}"),),
        ),
    ),
)

_INSTRUCTIONS = Row(
    "Instruction effect",
    (
        Panel(
            "How far instructions move queries",
            "1 - cosine between the query with and without its instruction. Below 0.03 they are ignored.",
            Unit.NUMBER,
            _quantiles("infembed_instruction_query_shift_ratio", window="1h"),
            {0.03: _GOOD},
            base=_BAD,
        ),
        Panel(
            "Results that are there because of the instruction",
            "Rank churn: the share of results that the query alone does not find as high.",
            Unit.SHARE,
            (Query(f"infembed:instruction_rank_churn:mean1h{{{_TRACK}}}", "{{track}}"),),
            {0.01: _GOOD},
            base=_WARNING,
        ),
        Panel(
            "Fixed query, fixed instruction",
            "The same shift without any traffic, measured when the model was loaded. The released model: 0.24.",
            Unit.NUMBER,
            (Query(f"infembed_instruction_probe_shift_ratio{{{_ALL}}}", "{{instance}}"),),
            {0.03: _GOOD},
            base=_BAD,
            kind=Kind.NUMBER,
        ),
        Panel(
            "Queries that have an instruction",
            "A drop is a client that stopped sending them.",
            Unit.SHARE,
            (
                Query(
                    _rate("infembed_inputs_total", "track", 'kind="instructed_query"')
                    + " / "
                    + _rate("infembed_inputs_total", "track", 'kind=~"instructed_query|plain_query"'),
                    "{{track}}",
                ),
            ),
        ),
        Panel(
            "Searches observed in an hour",
            "What the first two panels rest on: explained searches and the sample. Their alerts ask for 20.",
            Unit.NUMBER,
            (Query(f"infembed:instruction_effects:increase1h{{{_TRACK}}}", "{{track}}"),),
            {20: _GOOD},
            base=_WARNING,
        ),
    ),
)

_CACHE = Row(
    "Instruction cache",
    (
        Panel(
            "Instructions found in the cache",
            "A miss costs the instruction's tokens once for all queries of its batch.",
            Unit.SHARE,
            (Query(f"infembed:instruction_cache_hits:ratio30m{{{_TRACK}}}", "{{track}}"),),
            {0.5: _GOOD},
            base=_WARNING,
        ),
        Panel(
            "Look-ups and evictions",
            "Misses with evictions: the cache is too small. Misses without: instructions are new.",
            Unit.PER_S,
            (
                Query(_rate("infembed_instruction_cache_requests_total", "outcome"), "{{outcome}}"),
                Query(_rate("infembed_instruction_cache_evictions_total", "job"), "eviction"),
            ),
        ),
        Panel(
            "Memory of instructions",
            "At most INFEMBED_INSTRUCTION_CACHE_BYTES.",
            Unit.BYTES,
            (Query(f"infembed_instruction_cache_size_bytes{{{_ALL}}}", "{{instance}}"),),
        ),
        Panel(
            "Instructions remembered",
            "Different ones in use, as far as they fit.",
            Unit.NUMBER,
            (Query(f"infembed_instruction_cache_instructions{{{_ALL}}}", "{{instance}}"),),
        ),
    ),
)

_INDEX = Row(
    "Index",
    (
        Panel(
            "Age of the served generation",
            "Time since the oldest generation that a replica serves was built.",
            Unit.SECONDS,
            (Query(f"infembed:index_age_seconds:max{{{_TRACK}}}", "{{collection}} {{track}}"),),
            {7 * 86400: _WARNING},
        ),
        Panel(
            "Replicas apart",
            "Build times of the newest and the oldest generation that replicas serve: above zero, one did not reload.",
            Unit.SECONDS,
            (
                Query(
                    f"max by (track, collection) (infembed_index_built_timestamp_seconds{{{_TRACK}}})"
                    f" - min by (track, collection) (infembed_index_built_timestamp_seconds{{{_TRACK}}})",
                    "{{collection}} {{track}}",
                ),
            ),
            {1: _WARNING},
        ),
        Panel(
            "Search, after the vector is there",
            "Index and passages, without the model.",
            Unit.SECONDS,
            _quantiles("infembed_stage_duration_seconds", 'stage="search"'),
        ),
        Panel(
            "Documents",
            "Of each collection, as the replicas have it.",
            Unit.NUMBER,
            (Query(f"max by (collection) (infembed_index_documents{{{_ALL}}})", "{{collection}}"),),
        ),
        Panel(
            "Size of the index files",
            "Of each collection, as the replicas have it.",
            Unit.BYTES,
            (Query(f"max by (collection) (infembed_index_size_bytes{{{_ALL}}})", "{{collection}}"),),
        ),
    ),
)

_MODEL = Row(
    "Model",
    (
        Panel(
            "Replicas by model",
            "More than one model on a track: the same question gets different answers.",
            Unit.NUMBER,
            (
                Query(
                    f"count by (track, name, fusion, digest, version) (infembed_model_info{{{_ALL}}})",
                    "{{track}}: {{name}} {{digest}} ({{version}})",
                ),
            ),
            kind=Kind.NUMBER,
        ),
        Panel(
            "Busy share of the model",
            "At 100 % a replica does all it can.",
            Unit.SHARE,
            (Query(_rate("infembed_model_busy_seconds_total", "instance"), "{{instance}}"),),
            {0.7: _WARNING, 0.95: _BAD},
        ),
        Panel("Batches", "Time of one.", Unit.SECONDS, _quantiles("infembed_batch_duration_seconds")),
        Panel(
            "Inputs of a batch",
            "Mean. One: requests come one at a time, or the model is faster than they are.",
            Unit.NUMBER,
            (Query(_mean("infembed_batch_inputs", "instance"), "{{instance}}"),),
        ),
        Panel(
            "Tokens",
            "Computed, of these for nothing (padding), and what a backlog drains at.",
            Unit.PER_S,
            (
                Query(_rate("infembed_batch_tokens_sum", "job"), "computed"),
                Query(_rate("infembed_padding_tokens_total", "job"), "padding"),
                Query(f"sum by (job) (infembed_drain_tokens_per_second{{{_ALL}}})", "drained from a backlog"),
            ),
        ),
        Panel(
            "Since the last forward pass",
            "While requests wait it must not grow.",
            Unit.SECONDS,
            (Query(f"time() - infembed_last_forward_timestamp_seconds{{{_ALL}}}", "{{instance}}"),),
        ),
        Panel(
            "Vectors with NaN or infinity",
            "In 15 minutes. Never sent; each was a 500.",
            Unit.NUMBER,
            (Query(f"sum by (instance) (increase(infembed_non_finite_vectors_total{{{_ALL}}}[15m]))", "{{instance}}"),),
            {1: _BAD},
        ),
        Panel(
            "Reloads",
            "In an hour, by what came of them.",
            Unit.NUMBER,
            (Query(f"sum by (outcome) (increase(infembed_reloads_total{{{_ALL}}}[1h]))", "{{outcome}}"),),
        ),
        Panel(
            "Last reload succeeded",
            "No: the replica serves what it served before.",
            Unit.YES_OR_NO,
            (Query(f"infembed_last_reload_successful{{{_ALL}}}", "{{instance}}"),),
            {1: _GOOD},
            base=_BAD,
            kind=Kind.NUMBER,
        ),
    ),
)

_PROCESS = Row(
    "Process",
    (
        Panel(
            "Answers /metrics",
            "As Prometheus sees it.",
            Unit.YES_OR_NO,
            (Query(f"up{{{_ALL}}}", "{{instance}}"),),
            {1: _GOOD},
            base=_BAD,
            kind=Kind.NUMBER,
        ),
        Panel(
            "Memory, share of what it may have",
            "Resident, mapped weights included, of the container's limit.",
            Unit.SHARE,
            (
                Query(
                    f"process_resident_memory_bytes{{{_ALL}}} / infembed_memory_limit_bytes{{{_ALL}}}", "{{instance}}"
                ),
            ),
            {0.9: _WARNING, 1.0: _BAD},
        ),
        Panel(
            "Memory",
            "Resident, mapped weights included.",
            Unit.BYTES,
            (Query(f"process_resident_memory_bytes{{{_ALL}}}", "{{instance}}"),),
        ),
        Panel(
            "Processors in use",
            "The model, tokenizers and the event loop together.",
            Unit.NUMBER,
            (Query(_rate("process_cpu_seconds_total", "instance"), "{{instance}}"),),
        ),
        Panel(
            "Open files and connections",
            "Share of what the process may open.",
            Unit.SHARE,
            (Query(f"process_open_fds{{{_ALL}}} / process_max_fds{{{_ALL}}}", "{{instance}}"),),
            {0.8: _WARNING},
        ),
        Panel(
            "Since the start",
            "A saw is a crash loop.",
            Unit.SECONDS,
            (Query(f"time() - process_start_time_seconds{{{_ALL}}}", "{{instance}}"),),
        ),
    ),
)

ROWS = (_TRAFFIC, _LATENCY, _QUEUE, _INSTRUCTIONS, _CACHE, _INDEX, _MODEL, _PROCESS)
