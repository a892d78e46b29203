"""Tests of jaxgan.files."""

import errno
import os
import stat

import pytest

from jaxgan import files


def test_a_file_is_written_whole_and_leaves_no_draft(tmp_path):
    files.write(tmp_path / "new" / "a.txt", "ä")
    files.write(tmp_path / "new" / "a.txt", b"second")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"second"
    assert os.listdir(tmp_path / "new") == ["a.txt"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    files.write(tmp_path / "a", "before")
    with pytest.raises(RuntimeError), files.draft(tmp_path / "a") as file:
        file.write(b"half")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "before"
    assert os.listdir(tmp_path) == ["a"]


def test_an_error_names_the_file_that_was_to_be_written(tmp_path):
    """Not the draft beside it, of which nobody has heard."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"folder'$") as refused:
        files.write(tmp_path / "folder", b"")
    assert refused.value.filename == str(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_an_error_without_a_name_gets_that_of_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: .*x'$"), files.draft(tmp_path / "x"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_longest_name_can_be_written(tmp_path):
    files.write(tmp_path / ("x" * 255), "long")
    assert (tmp_path / ("x" * 255)).read_text() == "long"


def test_files_have_the_modes_of_the_process(tmp_path):
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "a", "")
        files.append(tmp_path / "b", "")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"] == [0o640, 0o640]


def test_lines_are_appended(tmp_path):
    files.append(tmp_path / "new" / "a", "1\n")
    files.append(tmp_path / "new" / "a", "ß\n")
    assert (tmp_path / "new" / "a").read_bytes() == "1\nß\n".encode()


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    files.write(tmp_path / "link", "ours")
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_nothing_is_appended_through_a_link(tmp_path, make):
    (tmp_path / "theirs").write_text("theirs")
    make(tmp_path / "theirs", tmp_path / "link")
    with pytest.raises(OSError, match="is a link"):
        files.append(tmp_path / "link", "ours")
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_a_link_to_nothing_is_not_followed_either(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    with pytest.raises(OSError, match="is a link"):
        files.append(tmp_path / "link", "ours")
    assert not (tmp_path / "absent").exists()


def test_what_would_be_refused_is_known_before(tmp_path):
    (tmp_path / "file").write_text("")
    os.link(tmp_path / "file", tmp_path / "second")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    (tmp_path / "folder").mkdir()
    files.refuse_link(tmp_path / "absent")
    files.refuse_link(tmp_path / "folder", folder=True)
    for name, folder in (("second", False), ("nowhere", False), ("nowhere", True), ("folder", False), ("file", True)):
        with pytest.raises(OSError, match=rf"^{tmp_path / name} is a link or not a .*: replace it by its target"):
            files.refuse_link(tmp_path / name, folder=folder)
    os.remove(tmp_path / "second")
    files.refuse_link(tmp_path / "file")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        files.append(tmp_path / "pipe", "ours")


@pytest.mark.parametrize("put", [files.write, files.append])
def test_no_folder_below_the_given_one_may_be_a_link(tmp_path, put):
    theirs, run = tmp_path / "theirs", tmp_path / "run"
    theirs.mkdir()
    run.mkdir()
    (run / "samples").symlink_to(theirs)
    with pytest.raises(OSError, match="is a link"):
        put(run / "samples" / "deep" / "a", "ours", inside=run)
    assert os.listdir(theirs) == []
    (tmp_path / "alias").symlink_to(run)  # where the run folder lies is its owner's business
    put(tmp_path / "alias" / "new" / "a", "ours", inside=tmp_path / "alias")
    assert (run / "new" / "a").read_text() == "ours"


def test_what_is_written_is_read(tmp_path):
    files.write(tmp_path / "a", "ä")
    assert files.read(tmp_path / "a") == "ä".encode()
    assert files.read_text(tmp_path / "a") == "ä"


def test_what_is_no_bounded_regular_text_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    files.write(tmp_path / "bytes", b"\xff")
    for name, reason in {"pipe": "not a regular file", ".": "not a regular file", "bytes": "not valid UTF-8"}.items():
        with pytest.raises(ValueError, match=reason):
            files.read_text(tmp_path / name)
    assert files.read(tmp_path / "bytes", most=1) == b"\xff"
    with pytest.raises(ValueError, match="larger than 0 bytes"):
        files.read(tmp_path / "bytes", most=0)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "absent")


def test_a_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/x")
    assert [str(files.expanded(path)) for path in ("~", "~/x", "a~/~b")] == ["/x", "/x/x", "a~/~b"]
    with pytest.raises(ValueError, match=r"no home folder for ~nobody\.at\.all"):
        files.expanded("~nobody.at.all/x")
