import http.server
import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.image.bytecode import address, imported_sources
from deploy.image.cuda_libraries import missing
from deploy.image.healthcheck import is_ready, ready_url
from deploy.image.inventory import debian_licences, debian_packages, image, licence_list, model
from deploy.image.trim import link_copies, unused_files


def _write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")


def test_trimming_takes_tests_sources_for_compilers_and_the_parts_of_arrow_that_nothing_opens(tmp_path: Path) -> None:
    kept = (
        "numpy/core.py",
        "numpy/testing/tools.py",
        "pyarrow/libarrow.so.26",
        "pyarrow/_parquet.abi3.so",
        "tests/a.py",
    )
    unused = (
        "numpy/lib/tests/test_io.py",
        "pyarrow/include/api.h",
        "pyarrow/libarrow_flight.so.26",
        "onnxruntime/capi/libonnxruntime.so.1.32.0",
        "pyarrow/_s3fs.abi3.so",
    )
    _write(tmp_path, *kept, *unused)
    assert {str(path.relative_to(tmp_path)) for path in unused_files(tmp_path)} == set(unused)


def test_trimming_makes_copies_of_a_library_one_file_that_still_opens(tmp_path: Path) -> None:
    for name in ("liba.so", "liba.so.1", "liba.so.1.0"):
        (tmp_path / name).write_bytes(b"same")
    (tmp_path / "libb.so").write_bytes(b"other")
    assert link_copies(tmp_path) == 8
    assert [(tmp_path / name).read_bytes() for name in ("liba.so", "liba.so.1", "liba.so.1.0")] == [b"same"] * 3
    assert [path.name for path in tmp_path.iterdir() if not path.is_symlink()] in (
        ["liba.so", "libb.so"],
        ["libb.so", "liba.so"],
    )


def test_the_inventory_lists_installed_debian_packages_with_their_licences(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u14\n"
        "Description: C library\n of GNU\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n",
        encoding="utf-8",
    )
    _write(tmp_path, "doc/libc6/copyright")
    (tmp_path / "doc/libc6/copyright").write_text(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: LGPL-2.1+\n",
        encoding="utf-8",
    )
    (package,) = debian_packages(status, tmp_path / "doc", "debian")
    assert package["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64"
    assert package["licenses"] == [{"license": {"name": "LGPL-2.1+"}}]


def test_a_copyright_file_in_prose_names_no_licence(tmp_path: Path) -> None:
    (tmp_path / "copyright").write_text("License: see below, dear reader\n", encoding="utf-8")
    assert debian_licences(tmp_path) == []


def test_the_inventory_names_the_model_by_the_digest_of_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "mini"}', encoding="utf-8")
    component = model(tmp_path)
    assert component["name"] == "mini"
    assert component["hashes"][0]["content"] == "e6ac19cb1e34688ca6ee0a0ee9dd76db93920ab7d1481bbdc61f5a2deeeee4e2"


def test_the_inventory_is_of_an_image_that_has_the_version_of_the_project() -> None:
    component = image([{"name": "numpy", "version": "2.4"}, {"name": "inf-embed", "version": "0.1.0"}])
    assert (component["type"], component["version"]) == ("container", "0.1.0")


def test_the_licence_list_has_a_line_for_each_component() -> None:
    listed = licence_list(
        [
            {"type": "library", "name": "b", "version": "2", "licenses": [{"license": {"id": "MIT"}}]},
            {"type": "library", "name": "a", "version": "1", "licenses": [{"expression": "MIT OR Apache-2.0"}]},
            {"type": "library", "name": "c", "version": "3"},
        ]
    )
    assert listed.splitlines()[-3:] == ["a 1: MIT OR Apache-2.0", "b 2: MIT", "c 3: see its files"]


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://127.0.0.1:8080/ready"),
        ({"INFEMBED_PORT": "9000"}, "http://127.0.0.1:9000/ready"),
        ({"INFEMBED_PORT": "tcp://10.0.0.7:80"}, "http://127.0.0.1:8080/ready"),
        ({"INFEMBED_TLS_CERT": "/tls/tls.crt"}, "https://127.0.0.1:8080/ready"),
    ],
)
def test_the_health_check_asks_where_the_service_listens(environment: dict[str, str], url: str) -> None:
    assert ready_url(environment) == url


@pytest.fixture
def answering() -> Iterator[tuple[http.server.HTTPServer, list[int]]]:
    statuses: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[0])
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server, statuses
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
def test_the_health_check_believes_the_status(
    answering: tuple[http.server.HTTPServer, list[int]], status: int, ready: bool
) -> None:
    server, statuses = answering
    statuses.append(status)
    assert is_ready(f"http://127.0.0.1:{server.server_port}/ready") == ready


def test_a_service_that_does_not_listen_is_not_ready() -> None:
    assert not is_ready("http://127.0.0.1:1/ready")


def test_a_library_that_the_gpu_image_lacks_is_found_but_the_driver_s_is_the_host_s() -> None:
    found = "\tlibcudart.so.13 => /app/cuda/libcudart.so.13 (0x1)"
    linked = f"{found}\n\tlibcuda.so.1 => not found\n\tlibcurand.so.10 => not found"
    assert missing(linked) == ["libcurand.so.10"]


def test_the_address_of_the_service_is_read_from_its_output() -> None:
    lines = io.StringIO("model mini\nready on http://127.0.0.1:4711 (documentation at ...)\n")
    assert address(lines) == "http://127.0.0.1:4711"


def test_a_service_that_ends_before_it_is_ready_fails_the_build() -> None:
    with pytest.raises(SystemExit, match="before it was ready"):
        address(io.StringIO("error: no bundle\n"))


def test_only_what_was_imported_is_compiled(tmp_path: Path) -> None:
    _write(tmp_path, "lib/a.py", "lib/b.py", f"lib/__pycache__/a.{sys.implementation.cache_tag}.pyc")
    assert list(imported_sources(tmp_path)) == [tmp_path / "lib" / "a.py"]
