"""Certificates for this machine, made once, and a deployment of each test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.credentials import Credentials, make_credentials
from tests.deployment.federation import Deployment


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return make_credentials(tmp_path_factory.mktemp("certificates"), "127.0.0.1")


@pytest.fixture
def deployment(credentials: Credentials, tmp_path: Path) -> Iterator[Deployment]:
    with Deployment(tmp_path / "deployment", credentials) as deployment:
        yield deployment
