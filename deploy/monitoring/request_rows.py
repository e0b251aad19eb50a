"""Rows of the dashboard on requests: how many, how long, and what they wait for."""

from deploy.monitoring.panels import Colour, Kind, Panel, Query, Row, Unit
from deploy.monitoring.queries import ALL, TRACK, mean, quantile, quantiles, rate

_GOOD, _WARNING, _BAD = Colour.GOOD, Colour.WARNING, Colour.BAD

TRAFFIC = Row(
    "Traffic",
    (
        Panel(
            "Requests by route",
            "All requests, health checks included.",
            Unit.REQUESTS_PER_S,
            (Query(rate("infembed_requests_total", "route"), "{{route}}"),),
            is_stacked=True,
        ),
        Panel(
            "Requests by status",
            "499: the client hung up before the answer.",
            Unit.REQUESTS_PER_S,
            (Query(rate("infembed_requests_total", "status"), "{{status}}"),),
            is_stacked=True,
        ),
        Panel(
            "Failed requests (5xx)",
            "Of those that embed or search. Objective: 0.1 %; at 1.44 % the month's budget is spent in two days.",
            Unit.SHARE,
            (Query(f"infembed:requests_failed:ratio5m{{{TRACK}}}", "{{track}}"),),
            {0.001: _WARNING, 0.0144: _BAD},
        ),
        Panel(
            "Inputs by kind",
            "What is embedded. Queries without instruction use half of what this service is for.",
            Unit.PER_S,
            (Query(rate("infembed_inputs_total", "kind"), "{{kind}}"),),
            is_stacked=True,
        ),
        Panel(
            "Inputs cut to the model's length",
            "What is beyond it is not embedded and cannot be found.",
            Unit.SHARE,
            (Query(f"infembed:inputs_truncated:ratio30m{{{TRACK}}}", "{{track}}"),),
            {0.05: _WARNING},
        ),
        Panel(
            "Error answers by class",
            "Validation, Empty and NotFound are the client's; Backend is ours.",
            Unit.REQUESTS_PER_S,
            (Query(rate("infembed_errors_total", "error_type"), "{{error_type}}"),),
        ),
    ),
)

LATENCY = Row(
    "Latency by stage",
    (
        Panel(
            "Interactive requests",
            "From the first byte of the request to the last of the answer. Objective: 99 % within 256 ms.",
            Unit.SECONDS,
            quantiles("infembed_request_duration_seconds", 'lane="interactive"'),
            {0.256: _WARNING},
        ),
        Panel(
            "Slow interactive requests",
            "Share beyond 256 ms. Objective: 1 %; at 14.4 % the month's budget is spent in two days.",
            Unit.SHARE,
            (Query(f"infembed:requests_slow:ratio5m{{{TRACK}}}", "{{track}}"),),
            {0.01: _WARNING, 0.144: _BAD},
        ),
        Panel(
            "Interactive requests, p95 by stage",
            "Which stage to look at first. Quantiles of stages do not add up to that of the whole.",
            Unit.SECONDS,
            (
                Query(
                    quantile(0.95, "infembed_stage_duration_seconds", by="stage", where='lane="interactive"'),
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
                    f'{{{ALL},lane="interactive"}}[$__rate_interval]))',
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
            (Query(mean("infembed_stage_duration_seconds", "stage", 'lane="bulk"'), "{{stage}}"),),
        ),
    ),
)

QUEUE = Row(
    "Queue and admission",
    (
        Panel(
            "Wait of interactive requests, p95",
            "Scale on this. At 128 ms half of the latency objective is spent waiting.",
            Unit.SECONDS,
            (Query(f"infembed:queue_wait_seconds:p95_5m{{{TRACK}}}", "{{track}}"),),
            {0.128: _WARNING, 0.256: _BAD},
        ),
        Panel(
            "Refused for want of room (429)",
            "Clients beyond a rate limit of their own are left out.",
            Unit.SHARE,
            (Query(f"infembed:requests_refused:ratio5m{{{TRACK}}}", "{{track}}"),),
            {0.01: _WARNING},
        ),
        Panel(
            "Refusals by lane, and rate limits",
            "A full bulk lane refuses bulk and nothing else.",
            Unit.REQUESTS_PER_S,
            (
                Query(rate("infembed_refused_requests_total", "lane"), "{{lane}}"),
                Query(rate("infembed_rate_limited_requests_total", "job"), "rate limit"),
            ),
        ),
        Panel(
            "Tokens waiting or running",
            "Against INFEMBED_MAX_QUEUED_TOKENS and INFEMBED_MAX_BULK_TOKENS.",
            Unit.NUMBER,
            (Query(f"infembed_queue_tokens{{{ALL}}}", "{{instance}}"),),
        ),
        Panel(
            "Inputs waiting",
            "Above zero all the time: the model is the bottleneck.",
            Unit.NUMBER,
            (Query(f"infembed_queue_inputs{{{ALL}}}", "{{instance}}"),),
        ),
        Panel(
            "Dropped before the model",
            "expired: the deadline passed in the queue; cancelled: the client went away.",
            Unit.PER_S,
            (Query(rate("infembed_dropped_inputs_total", "reason"), "{{reason}}"),),
        ),
    ),
)

INSTRUCTIONS = Row(
    "Instruction effect",
    (
        Panel(
            "How far instructions move queries",
            "1 - cosine between the query with and without its instruction. Below 0.03 they are ignored.",
            Unit.NUMBER,
            quantiles("infembed_instruction_query_shift_ratio", window="1h"),
            {0.03: _GOOD},
            base=_BAD,
        ),
        Panel(
            "Results that are there because of the instruction",
            "Rank churn: the share of results that the query alone does not find as high.",
            Unit.SHARE,
            (Query(f"infembed:instruction_rank_churn:mean1h{{{TRACK}}}", "{{track}}"),),
            {0.01: _GOOD},
            base=_WARNING,
        ),
        Panel(
            "Fixed query, fixed instruction",
            "The same shift without any traffic, measured when the model was loaded. The released model: 0.24.",
            Unit.NUMBER,
            (Query(f"infembed_instruction_probe_shift_ratio{{{ALL}}}", "{{instance}}"),),
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
                    rate("infembed_inputs_total", "track", 'kind="instructed_query"')
                    + " / "
                    + rate("infembed_inputs_total", "track", 'kind=~"instructed_query|plain_query"'),
                    "{{track}}",
                ),
            ),
        ),
        Panel(
            "Searches observed in an hour",
            "What the first two panels rest on: explained searches and the sample. Their alerts ask for 20.",
            Unit.NUMBER,
            (Query(f"infembed:instruction_effects:increase1h{{{TRACK}}}", "{{track}}"),),
            {20: _GOOD},
            base=_WARNING,
        ),
    ),
)

CACHE = Row(
    "Instruction cache",
    (
        Panel(
            "Instructions found in the cache",
            "A miss costs the instruction's tokens once for all queries of its batch.",
            Unit.SHARE,
            (Query(f"infembed:instruction_cache_hits:ratio30m{{{TRACK}}}", "{{track}}"),),
            {0.5: _GOOD},
            base=_WARNING,
        ),
        Panel(
            "Look-ups and evictions",
            "Misses with evictions: the cache is too small. Misses without: instructions are new.",
            Unit.PER_S,
            (
                Query(rate("infembed_instruction_cache_requests_total", "outcome"), "{{outcome}}"),
                Query(rate("infembed_instruction_cache_evictions_total", "job"), "eviction"),
            ),
        ),
        Panel(
            "Memory of instructions",
            "At most INFEMBED_INSTRUCTION_CACHE_BYTES.",
            Unit.BYTES,
            (Query(f"infembed_instruction_cache_size_bytes{{{ALL}}}", "{{instance}}"),),
        ),
        Panel(
            "Instructions remembered",
            "Different ones in use, as far as they fit.",
            Unit.NUMBER,
            (Query(f"infembed_instruction_cache_instructions{{{ALL}}}", "{{instance}}"),),
        ),
    ),
)
