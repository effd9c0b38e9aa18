"""A pack under odd conditions: signals, umask, locale, a read-only source, a full disk, sources with nothing good."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(count):
    return [{"file": f"{n:04d}.png", "label": "ab"[n % 2], "split": "train"} for n in range(count)]


@pytest.fixture
def command(tmp_path):
    """The command line of a pack with a salt of this test."""
    (tmp_path / "salt").write_text("a salt for tests, no secret")

    def line(source, out, *more):
        start = [sys.executable, "-m", "mermed.cli.shard", "pack", str(source), "--out", str(out)]
        return [*start, "--salt-file", str(tmp_path / "salt"), "--workers", "1", *more]

    return line


@pytest.mark.slow
def test_umask_locale_blanks_in_names_and_a_read_only_source_change_no_byte(write_source, command, tmp_path):
    source = write_source(rows(12))
    subprocess.run(command(source, tmp_path / "plain"), check=True, capture_output=True)
    odd = tmp_path / "a folder, with blanks"
    shutil.copytree(source, odd)
    for path in [*odd.rglob("*"), odd]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "TZ": "Pacific/Kiritimati"}
    strange = [*command(odd, tmp_path / "odd out")]
    subprocess.run(strange, check=True, capture_output=True, env=environment, preexec_fn=lambda: os.umask(0o077))
    assert tree(tmp_path / "plain") == tree(tmp_path / "odd out")
    for path in [*odd.rglob("*"), odd]:
        path.chmod(0o700)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_ends_a_pack_between_two_buckets_and_the_same_command_goes_on(
    number, code, write_source, command, pack_source, tmp_path
):
    source = write_source([{**row, "split": ("train", "val", "test")[n % 3]} for n, row in enumerate(rows(240))])
    process = subprocess.Popen(command(source, tmp_path / "out"), stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "out").glob(".tmp-work-*")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "run the same command to go on" in errors
    assert "Traceback" not in errors
    assert len(list((tmp_path / "out" / "ledger").glob("*.json"))) == 1
    assert not (tmp_path / "out" / "manifest.json").exists()
    subprocess.run(command(source, tmp_path / "out"), check=True, capture_output=True)
    pack_source(source, out=tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_a_second_signal_ends_a_pack_at_once(write_source, command, tmp_path):
    source = write_source(rows(400))
    process = subprocess.Popen(command(source, tmp_path / "out"), stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "out").glob(".tmp-work-*")):
        assert process.poll() is None
        time.sleep(0.005)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not list((tmp_path / "out" / "ledger").glob("*.json"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.slow
def test_a_full_disk_keeps_what_is_finished_and_goes_on_when_there_is_room(
    write_source, command, pack_source, tmp_path
):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        splits = [{**row, "split": ("train", "val", "test")[n % 3]} for n, row in enumerate(rows(300))]
        source = write_source(splits)
        full = subprocess.run(command(source, disk / "out"), check=False, capture_output=True, text=True)
        assert full.returncode == 5, full.stderr
        assert "No space left" in full.stderr
        assert not (disk / "out" / "manifest.json").exists()
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        subprocess.run(command(source, disk / "out"), check=True, capture_output=True)
        pack_source(source, out=tmp_path / "fresh")
        assert tree(disk / "out") == tree(tmp_path / "fresh")
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("make", ["no_rows", "all_bad", "wrong_folder"])
def test_a_source_with_nothing_good_ends_at_once_with_the_reasons(make, write_source, command, tmp_path):
    if make == "no_rows":
        source, code, said = write_source([], header=["file", "label"]), 3, "no input could be packed"
    elif make == "all_bad":
        bad = [{"file": f"{n}.png", "label": "x", "make": False} for n in range(30)]
        source, code, said = write_source(bad), 3, "30 missing"
    else:
        source, code, said = tmp_path / "nothing", 2, "not a folder"
    done = subprocess.run(command(source, tmp_path / "out"), check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
