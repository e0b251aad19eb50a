from pathlib import Path

from service.settings import Settings

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
        assert ("unset" if field.default is None else f"`{field.default}`") in row
        assert str(field.description) in row
