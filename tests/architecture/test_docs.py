from pathlib import Path

from service.metrics import Metrics
from service.settings import Settings
from tests.architecture.config_keys import keys

ROOT = Path(__file__).parents[2]


def test_every_setting_is_documented_with_its_default_and_its_meaning() -> None:
    rows = {
        line.split("|")[1].strip(" `"): line
        for line in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `INFEMBED_")
    }
    assert sorted(rows) == sorted(f"INFEMBED_{name.upper()}" for name in Settings.model_fields)
    for name, field in Settings.model_fields.items():
        row = rows[f"INFEMBED_{name.upper()}"]
        assert ("unset" if field.default in (None, (), {}) else f"`{field.default}`") in row
        assert str(field.description) in row


def test_every_key_of_a_training_run_is_documented_with_its_default_and_its_meaning() -> None:
    rows = {
        line.split("|")[1].strip(" `"): line
        for line in (ROOT / "docs" / "training.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `") and line.count("|") == 4 and not line.startswith("| `c")
    }
    found = list(keys())
    documented = [name for name in rows if name in {key.name for key in found} or "." in name]
    assert [name for name in documented if not name.endswith((".json", ".jsonl"))] == [key.name for key in found]
    for key in found:
        assert f"| `{key.default}` |" in rows[key.name]
        assert str(key.description or "") in rows[key.name]


def test_every_metric_is_documented_with_its_meaning() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in text.splitlines() if line.startswith("| `infembed_")}
    helps = [line.split(" ", 3)[2:] for line in Metrics().render().decode().splitlines() if line.startswith("# HELP")]
    exported = {name: meaning for name, meaning in helps if not name.endswith("_created")}
    assert sorted(rows) == sorted(exported)
    for name, meaning in exported.items():
        assert rows[name].endswith(f"| {meaning} |")
