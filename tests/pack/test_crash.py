"""A pack killed at every change it makes on the disk: whole files only, and the next run gives the same bytes."""

import json
import subprocess
import sys

import pytest

# Forks from a process that has imported everything, because hundreds of kills should not cost hundreds of starts.
PROGRAM = '''
import hashlib, json, os, shutil, signal, sys, tarfile
from pathlib import Path
from mermed.contract import load_manifest
from mermed.errors import MermedError
from mermed.pack.work.bucket import BucketSize
from mermed.pack.work.engine import LocalEngine
from mermed.pack.identity import Identity
from mermed.pack.options import PackOptions
from mermed.pack import packing
from mermed.pack.work import making
from mermed.pack.packing import PackPlan, pack
from mermed.pack.checks.verify import verify

making.tool_versions = packing.tool_versions = lambda: {"mermed": "test"}

top, first, second = (Path(argument) for argument in sys.argv[1:4])
left = None  # changes that are left until the kill

def count(event, arguments):
    global left
    if left is None:
        return
    flags = arguments[2] if event == "open" and isinstance(arguments[2], int) else 0
    is_write = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if is_write or event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
flush = os.fsync

def fsync(handle):
    count("os.rename", ())
    flush(handle)

os.fsync = fsync

def run(source, out):
    plan = PackPlan(bucket_size=BucketSize(inputs=7), prune=True)
    pack(source, out, options=PackOptions(), identity=Identity(b"x" * 16), plan=plan, engine=LocalEngine(hands=0))

def tree(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

def killed_run(source, out, changes):
    """Pack in a child that dies after `changes` changes; True when it lived to the end."""
    global left
    child = os.fork()
    if child == 0:
        left = changes
        run(source, out)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0

def look(out):
    """What lies there after a kill is whole, or has the name of something unfinished."""
    for path in out.rglob("*.tar"):
        if not any(part.startswith(".tmp-") for part in path.relative_to(out).parts):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert path.parent.name != ".parts" or path.stem == digest, path
            tarfile.open(path).getnames()
    if (out / "manifest.json").exists():
        assert not [p for p in verify(out).problems if "no row" not in p.what], verify(out).problems

def undisturbed(source, before=None):
    out = top / "undisturbed"
    shutil.rmtree(out, ignore_errors=True)
    if before:
        shutil.copytree(before, out)
    run(source, out)
    return tree(out)

def every_kill(name, source, before=None):
    expected, changes, out = undisturbed(source, before), 0, top / name
    while True:
        shutil.rmtree(out, ignore_errors=True)
        if before:
            shutil.copytree(before, out)
        lived = killed_run(source, out, changes)
        if lived:
            return changes
        look(out)
        run(source, out)
        found = tree(out)
        assert found == expected, (changes, sorted(set(found.items()) ^ set(expected.items())))
        changes += 1

fresh = every_kill("fresh", first)
run(first, top / "finished")
changed = every_kill("changed", second, top / "finished")
assert undisturbed(second) == undisturbed(second, top / "finished")
print(json.dumps([fresh, changed]))
'''


@pytest.mark.slow
def test_killed_at_every_change_the_rerun_is_the_undisturbed_pack(write_source, tmp_path):
    import shutil

    rows = [{"file": f"{n:02d}.png", "label": "ab"[n % 2], "split": "train"} for n in range(9)]
    source = write_source(rows)
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(source, first)
    # The second source lacks two files, has three new ones, a new duplicate, and a duplicate whose first copy is gone.
    rows = [row for row in rows if row["file"] not in ("03.png", "08.png")]
    rows += [{"file": f"new{n}.png", "label": "a", "split": "train"} for n in range(3)]
    source = write_source(rows)
    shutil.copyfile(source / "us" / "set" / "05.png", source / "us" / "set" / "new1.png")
    shutil.copytree(source, second)
    for name in ("03.png", "08.png"):
        (second / "us" / "set" / name).unlink()
    shutil.copyfile(first / "us" / "set" / "08.png", first / "us" / "set" / "07.png")
    shutil.copyfile(first / "us" / "set" / "08.png", second / "us" / "set" / "07.png")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, tmp_path / "program.py", tmp_path / "kills", first, second]
    (tmp_path / "kills").mkdir()
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    fresh, changed = json.loads(done.stdout)
    assert fresh > 40
    assert changed > 40
