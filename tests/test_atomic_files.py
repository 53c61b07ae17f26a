"""Files are replaced at once or not at all, and an error says why not."""

import errno
import os
import signal
import stat

import numpy as np
import pytest
from registry import cheap_net
from sklearn.datasets import load_iris

import skensemble
from skensemble import NetworkClassifier
from skensemble._records import atomic
from skensemble._records.atomic import replacing

X, Y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def fitted():
    return NetworkClassifier(cheap_net(), random_state=0).fit(X.astype(np.float32), Y)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_mode_of_a_file_is_kept(tmp_path, fitted):
    path = tmp_path / "file"
    path.write_text("before")
    path.chmod(0o640)
    fitted.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    skensemble.load(path)


def test_a_new_file_has_the_mode_of_new_files(tmp_path, fitted):
    (tmp_path / "other").write_text("")
    fitted.save(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_symbolic_link_stays_one(tmp_path, fitted):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    for before in (False, True):
        target.unlink(missing_ok=True)
        if before:
            target.write_text("before")
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        fitted.save(link)
        assert link.is_symlink()
        assert names(tmp_path / "folder") == ["target"]
        skensemble.load(target)
    assert names(tmp_path) == ["folder", "link"]


def test_file_and_folder_are_synced_before_and_after_the_rename(tmp_path, monkeypatch):
    done = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append(os.fstat(number)), sync(number)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("rename"), rename(*paths)))
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("all of it")
    file, renamed, folder = done
    assert (stat.S_ISREG(file.st_mode), renamed) == (True, "rename")
    assert os.path.samestat(folder, tmp_path.stat())


def write_half(path, kind):
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise kind


def test_what_was_there_stays_if_anything_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    for kind in (KeyboardInterrupt, ValueError):
        with pytest.raises(kind):
            write_half(path, kind)
    assert (names(tmp_path), path.read_text()) == (["file"], "before")


def refuse(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota of the disk is used up"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_full_disk_is_named(number, reason, tmp_path, fitted, monkeypatch):
    path = tmp_path / "file"
    path.write_text("before")
    monkeypatch.setattr(os, "fsync", refuse(number))
    with pytest.raises(OSError, match=f"file was not written: {reason}") as caught:
        fitted.save(path)
    assert (caught.value.errno, caught.value.filename) == (number, str(path))
    assert (names(tmp_path), path.read_text()) == (["file"], "before")


def test_what_safetensors_says_of_a_full_disk(tmp_path, fitted):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
        with pytest.raises(OSError, match=r"file was not written: .*so large") as caught:
            fitted.save(tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.errno == errno.EFBIG
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("make", "kind", "reason"),
    [
        (lambda path: path / "none" / "file", FileNotFoundError, "its folder is missing"),
        (lambda path: path / "text" / "file", NotADirectoryError, "a part of its path is no fol"),
        (lambda path: path, IsADirectoryError, "it is a folder"),
        (lambda path: path / "loop", OSError, "a symbolic link that leads to itself"),
        (lambda path: path / "pipe", OSError, "it is no ordinary file"),
    ],
)
def test_places_that_cannot_be_written_to(make, kind, reason, tmp_path, fitted):
    (tmp_path / "text").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    before = names(tmp_path)
    with pytest.raises(kind, match=f"was not written: .*{reason}"):
        fitted.save(make(tmp_path))
    assert names(tmp_path) == before


def test_a_locked_folder(tmp_path, fitted, monkeypatch):
    monkeypatch.setattr(atomic.os, "open", refuse(errno.EACCES))  # root may write anywhere
    with pytest.raises(PermissionError, match="its folder may not be written to"):
        fitted.save(tmp_path / "file")


def test_a_graph_is_replaced_at_once(tmp_path, fitted, monkeypatch):
    pytest.importorskip("onnxscript")
    path = tmp_path / "file.onnx"
    path.write_text("before")
    path.chmod(0o600)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse(errno.ENOSPC))
        with pytest.raises(OSError, match="the disk is full"):
            fitted.export_onnx(path)
    assert (names(tmp_path), path.read_text()) == (["file.onnx"], "before")
    fitted.export_onnx(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path) == ["file.onnx"]
