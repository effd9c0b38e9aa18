"""Engine Ray: buckets as tasks of a Ray cluster, whose nodes see source and output under the same paths or URLs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mermed.errors import missing_extra
from mermed.pack.collection.depot import open_depot
from mermed.pack.listing import RejectedRow
from mermed.pack.options import PackOptions
from mermed.pack.work.bucket import Bucket
from mermed.pack.work.engine import Eyes, LocalEngine, Order
from mermed.pack.work.hands import Limits
from mermed.pack.work.ledger import Ledger, ledger_name

TASKS_AHEAD = 4
"""Buckets handed out per core of the cluster, so that none waits while memory stays bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayEngine:
    """Ray: joins the cluster at `address`, or starts one on this machine with `cores` (all when None)."""

    address: str | None = None
    cores: int | None = None
    limits: Limits = field(default_factory=Limits)

    def make(self, buckets: Sequence[Bucket], order: Order, eyes: Eyes) -> None:
        """Make the buckets wherever there is room, each in a decoder process of its own; raises what a task raised."""
        try:
            import ray
        except ImportError:
            raise missing_extra("ray", "packing on a Ray cluster") from None
        started_here = not ray.is_initialized()
        if started_here:
            ray.init(address=self.address, num_cpus=self.cores, log_to_driver=False, include_dashboard=False)
        try:
            self._hand_out(ray, buckets, order, eyes)
        finally:
            if started_here:
                ray.shutdown()

    def _hand_out(self, ray: Any, buckets: Sequence[Bucket], order: Order, eyes: Eyes) -> None:
        remote = ray.remote(num_cpus=1, max_retries=3)(_make_there)
        most = max(int(TASKS_AHEAD * ray.cluster_resources().get("CPU", 1)), 1)
        waiting, running = list(reversed(buckets)), {}
        while waiting or running:
            while waiting and len(running) < most:
                bucket = waiting.pop()
                facts = order.depot.where, order.options, order.options_digest, self.limits
                running[remote.remote(bucket, *facts)] = bucket
            (done,), _ = ray.wait(list(running), num_returns=1)
            ray.get(done)
            _look(running.pop(done), order, eyes)
            eyes.between()


def _make_there(bucket: Bucket, where: str, options: PackOptions, options_digest: str, limits: Limits) -> None:
    """What a Ray task does: one bucket, with one decoder process beside it."""
    order = Order(depot=open_depot(where), options=options, options_digest=options_digest)
    LocalEngine(hands=1, limits=limits).make([bucket], order, Eyes())


def _look(bucket: Bucket, order: Order, eyes: Eyes) -> None:
    """Tell the eyes what a bucket came to, from its ledger."""
    ledger = Ledger.decode(order.depot.read(ledger_name(bucket.name)))
    for reject in ledger.rejects:
        task = bucket.tasks[reject.task]
        row = RejectedRow(
            place=task.image.place, reason=reject.reason, detail=reject.detail, bin=reject.bin, count=reject.count
        )
        eyes.outcome(task, row)
    for task in bucket.tasks:
        eyes.task(task)
