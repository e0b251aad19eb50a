"""Settings from options, environment and file."""

from pathlib import Path

import pytest

from infembed.errors import BadConfigError
from service.configuration import read_settings
from service.keys import Scope, hash_key

KUBERNETES = {
    "INFEMBED_SERVICE_HOST": "10.96.0.7",
    "INFEMBED_SERVICE_PORT": "80",
    "INFEMBED_SERVICE_PORT_HTTP": "80",
    "INFEMBED_PORT": "tcp://10.96.0.7:80",
    "INFEMBED_PORT_80_TCP": "tcp://10.96.0.7:80",
    "INFEMBED_PORT_80_TCP_PROTO": "tcp",
    "INFEMBED_PORT_80_TCP_PORT": "80",
    "INFEMBED_PORT_80_TCP_ADDR": "10.96.0.7",
    "INFEMBED_CANARY_SERVICE_HOST": "10.96.0.8",
    "INFEMBED_CANARY_SERVICE_PORT": "80",
    "INFEMBED_CANARY_PORT": "tcp://10.96.0.8:80",
    "INFEMBED_CANARY_PORT_80_TCP": "tcp://10.96.0.8:80",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "infembed.toml"
    path.write_text(
        'port = 9001\nthreads = 2\nmax_k = 500\ncors_origins = ["https://a.example", "https://b.example:8443"]\n'
    )
    return path


def test_an_option_wins_over_the_environment_which_wins_over_the_file(file: Path) -> None:
    environment = {"INFEMBED_PORT": "9002", "INFEMBED_THREADS": "3", "INFEMBED_CONFIG": str(file)}
    settings = read_settings(environment, port=9003, threads=None)
    assert (settings.port, settings.threads, settings.max_k, settings.max_client_batch) == (9003, 3, 500, 2048)


def test_the_option_wins_over_the_variable_that_names_the_file(file: Path, tmp_path: Path) -> None:
    assert read_settings({"INFEMBED_CONFIG": str(tmp_path / "absent")}, file=file).port == 9001


def test_lists_are_separated_by_commas_in_the_environment(file: Path) -> None:
    environment = {"INFEMBED_CORS_ORIGINS": "https://a.example, https://b.example:8443"}
    assert read_settings(environment).cors_origins == read_settings({}, file=file).cors_origins


def test_keys_may_stand_in_the_environment_as_json() -> None:
    written = f'{{"me": {{"scopes": ["search"], "hash": "{hash_key("k")}"}}}}'
    assert read_settings({"INFEMBED_KEYS": written}).keys["me"].scopes == (Scope.SEARCH,)


def test_an_empty_variable_counts_as_unset() -> None:
    assert read_settings({"INFEMBED_COLLECTIONS": "", "INFEMBED_CONFIG": ""}).collections is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("INFEMBED_MAX_BATCH_TOKEN", "INFEMBED_MAX_BATCH_TOKENS"),
        ("INFEMBED_TREADS", "INFEMBED_THREADS"),
        ("INFEMBED_CONFIGS", "INFEMBED_CONFIG"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_right_one(name: str, nearest: str) -> None:
    with pytest.raises(BadConfigError, match=rf"no setting '{name}'; did you mean {nearest}\?"):
        read_settings({name: "1"})


def test_variables_of_others_are_left_alone() -> None:
    others = {
        "INFEMBED_REGISTRY": "r",
        "INFEMBED_DATA": "d",
        "INFEMBED_API_KEY": "k",
        "INFEMBEDDED": "x",
        "PATH": "/bin",
    }
    assert read_settings(others) == read_settings({})


def test_what_kubernetes_injects_for_a_service_of_our_name_is_no_setting(file: Path) -> None:
    assert read_settings(KUBERNETES).port == 8080
    assert read_settings(KUBERNETES, file=file).port == 9001
    assert read_settings(KUBERNETES, port=9003).port == 9003


def test_a_port_that_a_person_wrote_wrong_is_still_refused() -> None:
    with pytest.raises(BadConfigError, match="INFEMBED_PORT: .* valid integer"):
        read_settings({"INFEMBED_PORT": "http://10.96.0.7:80"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("prot = 1", "there is no setting 'prot'; did you mean port?"),
        ("port = 70000", "port in .*: Input should be less than or equal to 65535"),
        ("port = [", "is not valid TOML"),
        ("[keys.a]\nscopes = ['fly']", "keys in .*a.scopes.0: Input should be 'embed', 'search', 'write' or 'admin'"),
        ("tls_cert = 'a.pem'", "tls_cert and tls_key belong together"),
        ("cors_origins = ['https://a.example/path']", "is no origin; write https://host"),
        ("cors_origins = ['a.example']", "is no origin; write https://host"),
        ("traces_endpoint = 'collector:4318'", "traces_endpoint"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_setting(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "infembed.toml"
    path.write_text(content)
    with pytest.raises(BadConfigError, match=words):
        read_settings({}, file=path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfigError, match="no settings file at .*; correct --config or INFEMBED_CONFIG"):
        read_settings({"INFEMBED_CONFIG": str(tmp_path / "absent.toml")})


@pytest.mark.parametrize("value", ["{", '{"a": {"hash": "infembed_secret"}}', '["infembed_secret"]'])
def test_what_stands_for_keys_is_never_repeated(value: str) -> None:
    with pytest.raises(BadConfigError, match="INFEMBED_KEYS") as refused:
        read_settings({"INFEMBED_KEYS": value})
    assert "infembed_secret" not in str(refused.value)
