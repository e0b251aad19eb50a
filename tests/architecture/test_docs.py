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
    is_file = (".json", ".jsonl", ".toml")
    keyed = [name for name in rows if name in {key.name for key in found} or "." in name]
    assert [name for name in keyed if not name.endswith(is_file)] == [key.name for key in found]
    for key in found:
        assert f"| `{key.default}` |" in rows[key.name]
        assert str(key.description or "") in rows[key.name]


def test_every_metric_is_documented_with_its_labels_and_its_meaning() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in text.splitlines() if line.startswith("| `")}
    metrics = Metrics()
    helps = dict(line.split(" ", 3)[2:] for line in metrics.render().decode().splitlines() if line.startswith("# HELP"))
    labels = {
        series.name.removesuffix("_count"): ", ".join(f"`{name}`" for name in series.labels)
        for series in metrics.series()
    }
    assert sorted(rows) == sorted(helps)
    for name, meaning in helps.items():
        assert rows[name].endswith(f"| {labels[name]} | {meaning} |")
