from __future__ import annotations

import pytest

from unlearnkit.errors import FormatError, RefusedError, UnknownNameError
from unlearnkit.files import write_new
from unlearnkit.signing.passphrase import passphrase_from_environment, passphrase_from_file


def test_a_passphrase_comes_from_the_environment_byte_for_byte(monkeypatch):
    monkeypatch.setenv("UNLEARNKIT_TEST_PASSPHRASE", "pässword ")
    assert passphrase_from_environment("UNLEARNKIT_TEST_PASSPHRASE") == "pässword ".encode()


@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_or_empty_variable_is_an_error_that_names_it(monkeypatch, value):
    monkeypatch.delenv("UNLEARNKIT_TEST_PASSPHRASE", raising=False)
    if value is not None:
        monkeypatch.setenv("UNLEARNKIT_TEST_PASSPHRASE", value)
    with pytest.raises(UnknownNameError, match=r"UNLEARNKIT_TEST_PASSPHRASE, .* is unset or empty"):
        passphrase_from_environment("UNLEARNKIT_TEST_PASSPHRASE")


@pytest.mark.parametrize("content", [b"secret word", b"secret word\n", b"secret word\r\n"])
def test_a_passphrase_is_the_one_line_of_a_file(tmp_path, content):
    write_new(tmp_path / "pass", content, mode=0o600)
    assert passphrase_from_file(tmp_path / "pass") == b"secret word"


@pytest.mark.parametrize(("content", "got"), [(b"", "none"), (b"\n", "none"), (b"secret\nother\n", "more")])
def test_other_files_are_malformed_and_not_quoted(tmp_path, content, got):
    write_new(tmp_path / "pass", content, mode=0o600)
    with pytest.raises(FormatError, match=f"pass must hold one line, the passphrase: got {got}") as caught:
        passphrase_from_file(tmp_path / "pass")
    assert "secret" not in str(caught.value)


def test_a_passphrase_that_others_can_read_is_refused(tmp_path):
    write_new(tmp_path / "pass", b"secret", mode=0o644)
    with pytest.raises(RefusedError, match="pass is open to others"):
        passphrase_from_file(tmp_path / "pass")
