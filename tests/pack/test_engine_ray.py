"""Packing on a Ray cluster: the sha256 of a single process, and rejected inputs reach the accounts."""

import hashlib

import pytest

from mermed.pack.packing import PackPlan
from mermed.pack.work.bucket import BucketSize

ray = pytest.importorskip("ray")


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_ray_workers_give_the_bytes_of_one_process(phantoms, pack_source, tmp_path):
    from mermed.pack.work.engine_ray import RayEngine

    plan = PackPlan(bucket_size=BucketSize(inputs=6))
    pack_source(phantoms, out=tmp_path / "one", plan=plan)
    _, result = pack_source(phantoms, out=tmp_path / "ray", plan=plan, engine=RayEngine(cores=2))
    assert result.num_made > 14
    assert tree(tmp_path / "one") == tree(tmp_path / "ray")
