"""The pages for people: complete, offline, and strict about what a browser may do with them."""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.headers import secured
from tests.service.app import make_client


@pytest.fixture(scope="module")
def client(tiny_bundle: Path) -> Iterator[TestClient]:
    client, _, _ = make_client(tiny_bundle)
    with client:
        yield client


def test_the_page_shows_every_route_and_every_field(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    page = client.get("/docs").text
    for path, methods in schema["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}</h2>" in page
    for name in ("instruction", "score_threshold", "encoding_format", "source_sentence"):
        assert name in page


def test_the_page_needs_nothing_but_itself(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["/openapi.json"]
    assert "url(" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_pages_policy_allows_its_own_style_alone(client: TestClient) -> None:
    response = client.get("/docs")
    policy = response.headers["content-security-policy"]
    (style,) = re.findall("<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/health", "/docs", "/openapi.json", "/metrics", "/nothing"])
def test_no_answers_type_is_guessed(client: TestClient, path: str) -> None:
    assert client.get(path).headers["x-content-type-options"] == "nosniff"


def test_a_page_without_a_policy_may_do_nothing_and_its_own_is_kept() -> None:
    page = (b"content-type", b"text/html; charset=utf-8")
    own = (b"content-security-policy", b"default-src 'self'")
    assert dict(secured([page]))[b"content-security-policy"].startswith(b"default-src 'none'")
    assert secured([page, own]).count(own) == 1
    assert dict(secured([page, own]))[b"content-security-policy"] == own[1]
    assert b"content-security-policy" not in dict(secured([(b"content-type", b"application/json")]))
