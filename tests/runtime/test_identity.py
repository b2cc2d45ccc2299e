"""Who may come in is known from the first start on."""

import errno
from pathlib import Path

import pytest

from amrikyy.auth import generate
from amrikyy.runtime import identity
from amrikyy.settings import ConfigurationError, Settings


def settings_in(folder: Path) -> Settings:
    return Settings.load(_env_file=None, app_env="development", data_dir=folder)


def test_the_secret_of_development_is_made_once_and_for_its_user_only(tmp_path: Path) -> None:
    made = identity._jwt_secret(settings_in(tmp_path))
    assert made == identity._jwt_secret(settings_in(tmp_path))
    assert (tmp_path / "jwt_secret").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["jwt_secret"]


def test_of_two_processes_that_make_the_secret_at_once_both_use_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken() -> str:
        monkeypatch.setattr(generate, "jwt_secret", lambda: "f" * 64)
        assert identity._jwt_secret(settings_in(tmp_path)) == "f" * 64
        return "5" * 64

    monkeypatch.setattr(generate, "jwt_secret", overtaken)
    assert identity._jwt_secret(settings_in(tmp_path)) == "f" * 64


def test_a_start_that_dies_while_it_makes_the_secret_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(Path, "hardlink_to", full)
    with pytest.raises(ConfigurationError, match=r"^DATA_DIR: .*/jwt_secret can be neither read nor made: No space"):
        identity._jwt_secret(settings_in(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"\xff\x00"])
def test_a_kept_secret_that_is_none_is_named_by_its_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "jwt_secret"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"^DATA_DIR: the secret in {path} is shorter than 32 characters"):
        identity._jwt_secret(settings_in(tmp_path))
    assert path.read_bytes() == content, "whether users log in again is for the operator to say"


def test_a_secret_that_cannot_be_read_is_named_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "jwt_secret"
    path.mkdir()  # root, as which the tests may run, may read every file
    with pytest.raises(ConfigurationError, match=f"^DATA_DIR: {path} can be neither read nor made: Is a directory"):
        identity._jwt_secret(settings_in(tmp_path))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"^DATA_DIR: .*/file/jwt_secret can be neither .*: Not a directory"):
        identity._jwt_secret(settings_in(tmp_path / "file"))
