"""Files that are replaced whole: threads, rights, links, left-overs; and what is no file."""

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

import esijax as ej
from esijax import _files
from esijax._files import read_whole, replacing


def put(path, content=b"new"):
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_threads_do_not_take_each_others_file(tmp_path):
    path, failed = tmp_path / "one.npz", []

    def go(letter):
        try:
            for _ in range(30):
                put(path, letter * 100_000)
        except ej.InputError as error:
            failed.append(error)

    threads = [threading.Thread(target=go, args=(x,)) for x in (b"a", b"b", b"c")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    assert path.read_bytes() in (b"a" * 100_000, b"b" * 100_000, b"c" * 100_000)
    assert names(tmp_path) == ["one.npz"]


def test_rights_are_kept_and_new_files_follow_the_umask(tmp_path):
    path = tmp_path / "private"
    before = os.umask(0o027)
    try:
        put(path)
        assert mode(path) == 0o640
        path.chmod(0o604)
        with replacing(path) as temporary:
            temporary.write_bytes(b"again")
            assert mode(temporary) == 0o600  # nobody reads it before it has the rights of the old
        assert mode(path) == 0o604
    finally:
        os.umask(before)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may")
def test_the_owner_is_kept(tmp_path):
    path = tmp_path / "theirs"
    put(path)
    os.chown(path, 12345, 54321)
    path.chmod(0o4750)
    put(path, b"again")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o4750)


def test_links_stay_links(tmp_path):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target.npz", tmp_path / "link.npz"
    link.symlink_to("far/target.npz")
    for content in (b"made through the link", b"replaced through it"):
        put(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert names(tmp_path) == ["far", "link.npz"]
    assert names(tmp_path / "far") == ["target.npz"]


def test_what_is_no_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, told in {
        "": "it is a folder",
        "folder": "it is a folder",
        "pipe": "it is a pipe",
        "/dev/zero": "it is a device",
        "/dev/full": "it is a device",
        "none/x.npz": f"there is no folder {tmp_path}/none",
        "zero\0byte": "is no path",
        "a" * 300: "(File name too long|is no path)",
    }.items():
        with pytest.raises(ej.InputError, match=told):
            put(path)
    with pytest.raises(ej.InputError, match="loop"):
        put("loop")
    with pytest.raises(ej.InputError, match=r"none: cannot be written to \(no such folder\)"):
        _files.require_folder(tmp_path / "none")
    assert names(tmp_path) == ["folder", "loop", "pipe"]


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "x"
    put(path, b"old")

    def interrupted():
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(ej.InputError, match="No space left"):
        put(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


def test_left_overs_of_the_dead_are_removed_and_no_others(tmp_path):
    dead = tmp_path / f".esijax-{_files._HOST}-1-0123456789ab.npz"  # pid 1 lives: it has no lock
    elsewhere = tmp_path / ".esijax-00000000-1-0123456789ab.npz"
    theirs = tmp_path / ".esijax-notes"
    for path in (dead, elsewhere, theirs):
        path.write_bytes(b"half")
    with replacing(tmp_path / "a.npz") as alive:
        put(tmp_path / "b.npz")
        assert alive.exists()
        alive.write_bytes(b"whole")
    assert (tmp_path / "a.npz").read_bytes() == b"whole"
    assert names(tmp_path) == [elsewhere.name, theirs.name, "a.npz", "b.npz"]


WRITER = """
import sys, time
from pathlib import Path
from esijax._files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_for_long(tmp_path):
    """Stays while the process lives, also for others; goes with the next write once it is dead."""
    path = tmp_path / "x.npz"
    put(path, b"old")
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        put(tmp_path / "y.npz")
        assert len(names(tmp_path)) == 3
        writer.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"old"
    put(tmp_path / "y.npz")
    assert names(tmp_path) == ["x.npz", "y.npz"]


def test_only_regular_files_of_bounded_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x").write_bytes(b"12345")
    assert read_whole(tmp_path / "x", 5) == b"12345"
    for path, told in {
        tmp_path: "cannot be read .*[Dd]irectory|cannot be read .*folder",
        tmp_path / "pipe": "it is a pipe",
        "/dev/zero": "it is a device",
        tmp_path / "none": "No such file",
        "zero\0byte": "cannot be read",
    }.items():
        with pytest.raises(ej.InputError, match=told):
            read_whole(path, 5)
    with pytest.raises(ej.InputError, match=r"more than the 0\.0 GB allowed"):
        read_whole(tmp_path / "x", 4)
