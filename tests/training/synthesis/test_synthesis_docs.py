"""Every setting of a synthesis run is documented."""

from pathlib import Path

import pytest

from infembed.config import Config
from training.synthesis.completion import Fault
from training.synthesis.config import EndpointConfig, Price, Retries, SynthesisConfig
from training.synthesis.criteria import Bounds, Check, Criterion

PAGE = (Path(__file__).parents[3] / "docs" / "synthesis.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("config", [SynthesisConfig, EndpointConfig, Retries, Bounds, Price])
def test_every_key_is_on_the_page(config: type[Config]) -> None:
    missing = [key for key in config.model_fields if f"`{key}`" not in PAGE and f"[{key}]" not in PAGE]
    assert [key for key in missing if key not in {"prompt", "completion", "cached_prompt"}] == []


def test_every_reason_for_a_rejection_is_on_the_page() -> None:
    assert [reason for reason in (*Check, *Criterion, *Fault) if f"`{reason}`" not in PAGE] == []
