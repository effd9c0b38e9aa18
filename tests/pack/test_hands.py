"""Decoder processes: what crashes, hangs or eats memory costs its own file; the order and the bytes stay."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
import mermed.pack.work.hand
from mermed.pack.work.sample import make_samples

def odd(task, options):
    name = task.image.file
    if name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("late"):
        yield next(make_samples(task, options))
        os._exit(7)
    if name.startswith("hang"):
        time.sleep(1000)
    if name.startswith("eat"):
        held = []
        while True:
            held.append(bytearray(10**8))
    if name.startswith("defect"):
        raise TypeError("Doe^Jane")
    if name.startswith("write"):
        Path(sys.argv[2] + ".written").write_text("escaped")
    yield from make_samples(task, options)

if __name__ == "__mp_main__":
    mermed.pack.work.hand.make_samples = odd

if __name__ == "__main__":
    from mermed.pack.work.engine import LocalEngine
    from mermed.pack.work.hands import Limits
    from mermed.pack.identity import Identity
    from mermed.pack.options import PackOptions
    from mermed.pack.packing import pack

    source, out, hands = sys.argv[1:]
    engine = LocalEngine(hands=int(hands), limits=Limits(seconds=4.0, memory_mb=512))
    result = pack(Path(source), out, options=PackOptions(), identity=Identity(b"x" * 16), engine=engine)
    print(json.dumps(result.manifest.totals))
"""
BAD = {
    "crash": ("decoder_crash", "signal 11"),
    "late": ("decoder_crash", "code 7"),
    "hang": ("timeout", "nothing for 4 s"),
    "eat": ("limits", "MemoryError"),
    "defect": ("defect", "TypeError at "),
    "write": ("defect", "OSError at "),
}


@pytest.fixture
def pack_odd_source(write_source, tmp_path):
    """Pack good files and one of every bad kind in a process of its own."""
    (tmp_path / "program.py").write_text(PROGRAM)
    names = [*(f"good{number:02d}" for number in range(20)), *BAD]
    source = write_source([{"file": f"{name}.png", "label": "x", "split": "train"} for name in names])

    def run(hands):
        out = tmp_path / f"out{hands}"
        command = [sys.executable, tmp_path / "program.py", source, out, str(hands)]
        done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return out, json.loads(done.stdout)

    return run


@pytest.mark.slow
def test_a_file_that_breaks_its_decoder_costs_that_file_alone(pack_odd_source, listed, tmp_path):
    out, totals = pack_odd_source(2)
    found = {row["file"].split("/")[-1].removesuffix(".png"): row for row in listed(out / "quarantine.csv")}
    assert found.keys() == BAD.keys()
    for name, (reason, detail) in BAD.items():
        assert found[name]["reason"] == reason
        assert detail in found[name]["detail"]
    # What came before the crash of "late" is kept: 20 good images and its first.
    assert totals == {"inputs": 27, "packed": 21, "duplicates": 0, "excluded": 0, "quarantined": 6}
    assert (tmp_path / "out2.written").read_text() == ""
    assert "Jane" not in (out / "quarantine.csv").read_text()


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_who_was_buried(pack_odd_source):
    shards = []
    for hands in (1, 3):
        out, _ = pack_odd_source(hands)
        shards.append({path.name: path.read_bytes() for path in out.rglob("*.tar")})
    assert shards[0] == shards[1]


def test_hands_that_cannot_start_end_the_pack_with_the_next_step(write_source, tmp_path):
    (tmp_path / "program.py").write_text("import os\nif __name__ == '__mp_main__': os._exit(3)\n" + PROGRAM)
    source = write_source([{"file": "a.png", "label": "x"}])
    command = [sys.executable, tmp_path / "program.py", source, tmp_path / "out", "1"]
    done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert done.returncode != 0
    assert "a decoder process cannot be started" in done.stderr
    assert "--workers 0" in done.stderr
