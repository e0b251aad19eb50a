"""Who gets in: keys and scopes, programs on the same machine, pages of other origins."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.gate import needed_scope
from service.keys import Scope, StoredKey, hash_key, new_key
from tests.service.app import make_client

KEYS = {name: new_key() for name in ("embedder", "searcher", "admin", "scraper")}
STORED = {
    "embedder": StoredKey(scopes=(Scope.EMBED,), hash=hash_key(KEYS["embedder"])),
    "searcher": StoredKey(scopes=(Scope.SEARCH,), hash=hash_key(KEYS["searcher"])),
    "admin": StoredKey(scopes=(Scope.ADMIN,), hash=hash_key(KEYS["admin"])),
    "scraper": StoredKey(hash=hash_key(KEYS["scraper"])),
}
BODIES = {
    "/embed": {"inputs": "bread"},
    "/": {"inputs": "bread"},
    "/similarity": {"inputs": {"source_sentence": "bread", "sentences": ["oven"]}},
    "/v1/embeddings": {"input": "bread"},
    "/embeddings": {"input": "bread"},
    "/search": {"query": "bread"},
}


@pytest.fixture(scope="module")
def guarded(tiny_bundle: Path) -> Iterator[TestClient]:
    client, _, _ = make_client(tiny_bundle, keys=STORED)
    with client:
        yield client


def _bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name]}"}


@pytest.mark.parametrize("path", BODIES)
def test_without_a_key_a_401_says_how_to_send_one(guarded: TestClient, path: str) -> None:
    for headers, challenge in (
        ({}, "Bearer"),
        ({"authorization": f"Bearer {new_key()}"}, 'Bearer error="invalid_token"'),
    ):
        response = guarded.post(path, json=BODIES[path], headers=headers)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, challenge)
        error = response.json()["error"]
        message = error["message"] if path in {"/v1/embeddings", "/embeddings"} else error
        assert "send the header `Authorization: Bearer KEY`" in message


@pytest.mark.parametrize("path", BODIES)
def test_a_key_opens_the_routes_of_its_scope_and_a_403_names_the_missing_one(guarded: TestClient, path: str) -> None:
    needed, right, wrong = ("search", "searcher", "embedder") if path == "/search" else ("embed", "embedder", "admin")
    assert guarded.post(path, json=BODIES[path], headers=_bearer(right)).status_code == 200
    refused = guarded.post(path, json=BODIES[path], headers=_bearer(wrong))
    assert refused.status_code == 403
    assert f"this needs a key with scope {needed}; yours has" in refused.text
    assert f'scope="{needed}"' in refused.headers["www-authenticate"]
    assert ("message" in refused.json()["error"]) == (path in {"/v1/embeddings", "/embeddings"})


@pytest.mark.parametrize("written", ["{}", "bearer {}", "Bearer  {}", "BEARER {}"])
def test_the_key_is_taken_with_and_without_bearer(guarded: TestClient, written: str) -> None:
    headers = {"authorization": written.format(KEYS["embedder"])}
    assert guarded.post("/embed", json=BODIES["/embed"], headers=headers).status_code == 200


def test_health_and_pages_are_open_and_metrics_and_info_take_any_key(guarded: TestClient) -> None:
    for path in ("/health", "/ready", "/docs", "/openapi.json"):
        assert guarded.get(path).status_code == 200
    for path in ("/metrics", "/info", "/v1/models"):
        assert guarded.get(path).status_code == 401
        assert guarded.get(path, headers=_bearer("scraper")).status_code == 200
    assert guarded.post("/embed", json=BODIES["/embed"], headers=_bearer("scraper")).status_code == 403


def test_what_is_open_without_a_key_is_the_operators_choice(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle, keys=STORED, open_health=False, open_metrics=True)
    with client:
        found = {path: client.get(path).status_code for path in ("/health", "/ready", "/metrics")}
    assert found == {"/health": 401, "/ready": 401, "/metrics": 200}


def test_an_unknown_route_tells_nothing_to_strangers(guarded: TestClient) -> None:
    assert guarded.get("/nothing").status_code == 401
    assert guarded.get("/nothing", headers=_bearer("scraper")).status_code == 404


def test_the_body_of_a_stranger_is_bounded_too(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle, keys=STORED, max_body_bytes=2000)
    with client:
        parts = iter([b"a" * 1500, b"a" * 1500])
        assert client.post("/embed", content=parts).status_code == 413


def test_refusals_are_counted(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle, keys=STORED, open_metrics=True)
    with client:
        client.post("/embed", json=BODIES["/embed"])
        text = client.get("/metrics").text
    assert 'infembed_errors_total{error_type="Unauthorized"} 1.0' in text


def test_the_description_asks_for_a_key_where_keys_are_configured(guarded: TestClient) -> None:
    schema = guarded.get("/openapi.json").json()
    paths = schema["paths"]
    assert paths["/embed"]["post"]["security"] == paths["/"]["post"]["security"] == [{"key": ["embed"]}]
    assert paths["/admin/reload"]["post"]["security"] == [{"key": ["admin"]}]
    assert paths["/info"]["get"]["security"] == [{"key": []}]
    assert paths["/health"]["get"]["security"] == []
    assert {"401", "403"} <= set(paths["/embed"]["post"]["responses"])


def test_every_route_that_does_work_needs_a_scope(guarded: TestClient) -> None:
    for path, methods in guarded.get("/openapi.json").json()["paths"].items():
        for method in methods:
            is_work = method in {"post", "put", "delete", "patch"} or path.startswith(("/admin", "/collections"))
            assert (needed_scope(method.upper(), path) is not None) == is_work, f"{method} {path}"


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/search", Scope.SEARCH),
        ("POST", "/search/", Scope.SEARCH),
        ("GET", "/collections/news", Scope.SEARCH),
        ("PUT", "/collections/news", Scope.WRITE),
        ("POST", "/collections/news/documents", Scope.WRITE),
        ("POST", "/admin/reload", Scope.ADMIN),
        ("GET", "/admin/anything", Scope.ADMIN),
        ("POST", "/rerank", Scope.EMBED),
        ("GET", "/info", None),
    ],
)
def test_routes_need_the_scope_of_what_they_do(method: str, path: str, scope: Scope | None) -> None:
    assert needed_scope(method, path) == scope


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("10.0.0.7", {}, 403),
        ("testclient", {}, 403),
        ("127.0.0.1", {"x-forwarded-for": "10.0.0.7"}, 403),
        ("127.0.0.1", {"via": "1.1 proxy"}, 403),
        ("127.0.0.1", {"origin": "http://testserver"}, 403),
    ],
)
def test_without_keys_only_a_program_on_the_same_machine_may_administer(
    tiny_bundle: Path, host: str, headers: dict[str, str], status: int
) -> None:
    client, _, _ = make_client(tiny_bundle, host=host, reload=lambda now: now)
    with client:
        assert client.post("/embed", json=BODIES["/embed"]).status_code == 200
        assert client.post("/admin/reload", headers=headers).status_code == status


def test_with_keys_the_same_machine_is_no_excuse(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle, host="127.0.0.1", keys=STORED, reload=lambda now: now)
    with client:
        assert client.post("/admin/reload").status_code == 401
        assert client.post("/admin/reload", headers=_bearer("embedder")).status_code == 403
        assert client.post("/admin/reload", headers=_bearer("admin")).json()["outcome"] == "unchanged"


def test_pages_of_other_origins_are_refused_before_they_cost_anything(tiny_bundle: Path) -> None:
    client, _, _ = make_client(tiny_bundle)
    with client:
        found = {
            origin: client.post("/embed", json=BODIES["/embed"], headers={"origin": origin})
            for origin in ("https://evil.example", "null", "http://testserver")
        }
    assert [response.status_code for response in found.values()] == [403, 403, 200]
    assert "INFEMBED_CORS_ORIGINS" in found["https://evil.example"].json()["error"]
    assert not any("access-control-allow-origin" in response.headers for response in found.values())


def test_an_allowed_origin_may_ask_and_call_and_reads_refusals_too(tiny_bundle: Path) -> None:
    app = "https://app.example"
    client, _, _ = make_client(tiny_bundle, keys=STORED, cors_origins="https://app.example, https://b.example")
    asking = {
        "origin": app,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    with client:
        asked = client.options("/embed", headers=asking)
        called = client.post("/embed", json=BODIES["/embed"], headers=_bearer("embedder") | {"origin": app})
        refused = client.post("/embed", json=BODIES["/embed"], headers={"origin": app})
        foreign = client.options("/embed", headers=asking | {"origin": "https://evil.example"})
    assert (asked.status_code, called.status_code, refused.status_code, foreign.status_code) == (200, 200, 401, 400)
    for response in (asked, called, refused):
        assert response.headers["access-control-allow-origin"] == app
        assert "access-control-allow-credentials" not in response.headers
    assert "retry-after-ms" in called.headers["access-control-expose-headers"]
