"""Keys that the tests of this folder share; made once, because making them is all they cost."""

from __future__ import annotations

import pytest

from unlearnkit.signing.keys import Algorithm, PrivateKey


@pytest.fixture(scope="session")
def signer() -> PrivateKey:
    return PrivateKey.generate(Algorithm.P256)


@pytest.fixture(scope="session")
def second_signer() -> PrivateKey:
    return PrivateKey.generate(Algorithm.P256)


@pytest.fixture(scope="session")
def stranger() -> PrivateKey:
    return PrivateKey.generate(Algorithm.P256)


@pytest.fixture(scope="session")
def log_key() -> PrivateKey:
    return PrivateKey.generate(Algorithm.ED25519)


@pytest.fixture(scope="session")
def witness_key() -> PrivateKey:
    return PrivateKey.generate(Algorithm.ED25519)
