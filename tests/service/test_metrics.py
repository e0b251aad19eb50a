"""What the service tells its operators is what happened."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from infembed.memory import available_memory_bytes
from service.metrics import Metrics, Outcome
from service.search import Sample
from tests.service.app import make_client


def _value(client: TestClient, series: str) -> float:
    """Read one series; the text has each exactly once."""
    (found,) = re.findall(rf"^{re.escape(series)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found)


def test_an_instructions_effect_is_observed_only_where_there_is_an_instruction(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle, effect_sample_ratio=0)
    with client:
        for instruction in (None, " ", "no yeast"):
            body = {"query": "bread", "instruction": instruction, "explain": True, "k": 2}
            effect = client.post("/search", json=body).json()["effect"]
        assert _value(client, "infembed_instruction_query_shift_ratio_count") == 1
        assert _value(client, "infembed_instruction_rank_churn_ratio_count") == 1
        assert _value(client, "infembed_instruction_query_shift_ratio_sum") == pytest.approx(effect["query_shift"])
        assert _value(client, "infembed_instruction_rank_churn_ratio_sum") == pytest.approx(effect["rank_churn"])


def test_sampled_searches_are_observed_though_the_answer_does_not_tell(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle, effect_sample_ratio=0.5)
    instructed = {"query": "bread", "instruction": "no yeast"}
    with client:
        answers = [client.post("/search", json=instructed).json() for _ in range(4)]
        client.post("/search", json={"query": "bread"})
        assert _value(client, "infembed_instruction_query_shift_ratio_count") == 2
    assert answers[1] == answers[0]
    assert "effect" not in answers[1]


@pytest.mark.parametrize(("ratio", "n_times", "expected"), [(0.0, 50, 0), (0.01, 300, 3), (0.25, 9, 2), (1.0, 5, 5)])
def test_a_sample_is_its_share_of_the_times(ratio: float, n_times: int, expected: int) -> None:
    sample = Sample(ratio)
    assert sum(sample.is_due() for _ in range(n_times)) == expected


def test_the_probe_shows_at_once_how_far_an_instruction_moves_a_query(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle)
    with client:
        search = {"query": "how to debug a liveness probe", "instruction": "leave out reference pages"}
        effect = client.post("/search", json=search | {"explain": True}).json()["effect"]
        probe = _value(client, "infembed_instruction_probe_shift_ratio")
    assert probe == pytest.approx(effect["query_shift"], abs=1e-5)
    assert probe > 0.001


def test_requests_and_their_stages_are_timed_by_lane(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle, bulk_inputs=2)
    with client:
        assert client.post("/embed", json={"inputs": "bread"}).headers["x-lane"] == "interactive"
        assert client.post("/embed", json={"inputs": ["bread"] * 3}).headers["x-lane"] == "bulk"
        client.post("/embed", json={"inputs": []})
        for lane in ("interactive", "bulk", "none"):
            count = f'infembed_request_duration_seconds_count{{lane="{lane}",route="/embed"}}'
            assert _value(client, count) == 1
        for lane in ("interactive", "bulk"):
            assert _value(client, f'infembed_stage_duration_seconds_count{{lane="{lane}",stage="queue"}}') == 1


def test_inputs_are_counted_by_kind(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle)
    with client:
        client.post("/embed", json={"inputs": ["bread", "road"]})
        client.post("/embed", json={"inputs": ["bread", "road"], "instruction": ["no yeast", None]})
        client.post("/search", json={"query": "bread", "instruction": "  "})
        found = {
            kind: _value(client, f'infembed_inputs_total{{kind="{kind}"}}')
            for kind in ("document", "plain_query", "instructed_query")
        }
    assert found == {"document": 2, "plain_query": 2, "instructed_query": 1}


def test_the_last_forward_pass_is_one_that_made_a_vector(tiny_bundle: Path) -> None:
    client, encoder, _ = make_client(tiny_bundle)
    started = datetime.now(UTC).timestamp()
    with client:
        client.post("/embed", json={"inputs": "bread"})
        at = _value(client, "infembed_last_forward_timestamp_seconds")
        assert started <= at <= datetime.now(UTC).timestamp()
        encoder.fault = RuntimeError("broken")
        client.post("/embed", json={"inputs": "bread"})
        assert _value(client, "infembed_last_forward_timestamp_seconds") == at


def test_the_served_generations_build_time_is_shown_and_goes_with_its_collection(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle)
    with client:
        built = _value(client, 'infembed_index_built_timestamp_seconds{collection="words"}')
    assert built == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    metrics = Metrics()
    metrics.collection("words", documents=1, size_bytes=1, built_at="2026-01-01T00:00:00+00:00")
    metrics.forget_collection("words")
    assert b"words" not in metrics.render()


def test_a_refused_reload_shows_until_one_succeeds() -> None:
    metrics = Metrics()
    shown = []
    metrics.reload_refused()
    shown.append(b"infembed_last_reload_successful 0.0" in metrics.render())
    metrics.reload(Outcome.UNCHANGED)
    shown.append(b"infembed_last_reload_successful 1.0" in metrics.render())
    assert shown == [True, True]
    assert b'infembed_reloads_total{outcome="refused"} 1.0' in metrics.render()


def test_a_queue_that_comes_while_metrics_are_read_shows_the_next_time() -> None:
    metrics = Metrics()

    class Queue:
        n_tokens, drained_per_s = 0, 1.0

        @property
        def n_inputs(self) -> int:
            if not successors:
                successors.append(Queue())
                metrics.watch_queue(successors[0])
            return 1

    successors: list[Queue] = []
    first = Queue()
    metrics.watch_queue(first)
    assert b"infembed_queue_inputs 1.0" in metrics.render()
    assert b"infembed_queue_inputs 2.0" in metrics.render()


def test_memory_and_its_limit_are_those_of_this_process(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle)
    with client:
        limit = _value(client, "infembed_memory_limit_bytes")
        assert 0 < _value(client, "process_resident_memory_bytes") < limit
    assert limit == available_memory_bytes()
