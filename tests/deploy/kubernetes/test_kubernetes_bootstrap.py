"""The commands of docs/deployment.md and the arguments of the manifests, in order, below a directory of its own."""

import json
import re
import shutil
from pathlib import Path

import pytest

from service.configuration import read_settings
from service.loading import load
from tests.command_line import Command
from tests.deploy.kubernetes.rendered import Container, Object, containers, environment, render

PASSAGES = [{"id": f"p{n}", "text": f"how to debug probe number {n}"} for n in range(8)]


class Cluster:
    """Runs containers of manifests as the command line of this process; paths below /srv and /etc are moved."""

    def __init__(self, root: Path, run: Command, monkeypatch: pytest.MonkeyPatch, objects: list[Object]) -> None:
        self.root = root
        self._run = run
        self._monkeypatch = monkeypatch
        self._objects = objects
        self._containers = {(one.workload, one.spec["name"]): one for one in containers(objects)}

    def variables(self, container: Container) -> dict[str, str]:
        """Return what the container's environment would be."""
        found = environment(container, self._objects)
        return {name: self._moved(value) for name, value in found.items() if name != "HOME"}

    def start(self, workload: str, name: str) -> None:
        """Run a container to its end, which must be a good one."""
        container = self._containers[workload, name]
        for variable, value in self.variables(container).items():
            self._monkeypatch.setenv(variable, value)
        self._monkeypatch.setenv("INFEMBED_REGISTRY", str(self.root / "registry"))
        arguments = [self._moved(re.sub(r"\$\(\w+\)", "1", one)) for one in container.spec["args"]]
        ended = self._run(*arguments)
        assert ended.code == 0, ended.err

    def container(self, workload: str, name: str) -> Container:
        return self._containers[workload, name]

    def _moved(self, text: str) -> str:
        return re.sub(r"(^|=)/(srv|etc)/", rf"\g<1>{self.root}/\g<2>/", text)


@pytest.mark.slow
def test_the_writer_and_the_init_container_bring_a_new_registry_to_a_service_that_loads(
    tmp_path: Path, tiny_bundle: Path, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(tmp_path, run, monkeypatch, render("cpu"))
    registry, keys = ("--registry", tmp_path / "registry"), tmp_path / "etc" / "infembed"
    for directory in ("etc/infembed", "srv/infembed/writer", "srv/infembed/index/blue"):
        (tmp_path / directory).mkdir(parents=True)
    passages = "".join(json.dumps(one) + "\n" for one in PASSAGES)
    (tmp_path / "srv/infembed/writer/passages.jsonl").write_text(passages, encoding="utf-8")
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    run("registry", "keygen", keys / "release")
    run("registry", "sign", bundle, "--private-key", keys / "release")
    run("registry", "register", bundle, *registry)
    assert run("registry", "promote", "--initial", "--by", "ann", "--reason", "first", *registry).code == 0

    for name in ("pull", "build", "amend"):
        cluster.start("CronJob inf-embed-writer", name)
    cluster.start("Deployment inf-embed", "pull")

    variables = cluster.variables(cluster.container("Deployment inf-embed", "service"))
    loaded = load(read_settings(variables | {"INFEMBED_CONFIG": "", "INFEMBED_THREADS": "1"}))
    (collection,) = loaded.collections
    assert (collection.name, collection.n_documents) == ("docs", len(PASSAGES))
    collection.close()
    generation = (tmp_path / "srv/infembed/index/blue/docs/CURRENT").read_text(encoding="utf-8").strip()
    assert collection.generation == generation
    assert (tmp_path / f"srv/infembed/index/blue/docs/pins/{generation}").is_file()
