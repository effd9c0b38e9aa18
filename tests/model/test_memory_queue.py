"""The memory queue: arithmetic places, rows that cannot be read before they are written, keyed blocks, gauges."""

import pytest
import torch
from torch.nn import functional

from mermed.errors import ConfigError
from mermed.model.memory_queue import MemoryQueue

ROWS, DIM = 10, 3


def fill(queue, batches):
    """Write batches of the given sizes; image n has the embedding (n, n, n) and the modality n % 4."""
    seen = 0
    for size in batches:
        number = torch.arange(seen, seen + size)
        queue.write(number[:, None].expand(size, DIM).float(), number % 4, seen)
        seen += size
    return seen


def test_rows_not_yet_written_are_nan_and_belong_to_no_modality():
    queue = MemoryQueue(ROWS, DIM)
    fill(queue, [4])
    assert torch.isnan(queue.keys[4:]).all() and not torch.isnan(queue.keys[:4]).any()
    assert queue.row_modality.tolist() == [0, 1, 2, 3] + [-1] * 6


@pytest.mark.parametrize("batches", [[4, 4, 4, 4], [10, 10], [7, 7, 7], [1] * 13, [9, 10, 3]])
def test_each_row_holds_the_newest_image_whose_number_it_divides(batches):
    queue = MemoryQueue(ROWS, DIM)
    seen = fill(queue, batches)
    newest = [max(n for n in range(seen) if n % ROWS == row) for row in range(ROWS)]
    assert queue.keys[:, 0].tolist() == newest
    assert queue.row_modality.tolist() == [n % 4 for n in newest]


def test_a_batch_larger_than_the_queue_is_refused():
    queue = MemoryQueue(ROWS, DIM)
    with pytest.raises(ConfigError, match="a batch must fit into the queue"):
        fill(queue, [11])


def test_writing_takes_no_gradient_along():
    queue = MemoryQueue(ROWS, DIM)
    queue.write(torch.ones(2, DIM, requires_grad=True), torch.zeros(2, dtype=torch.int64), 0)
    assert not queue.keys.requires_grad


def test_the_state_holds_rows_and_modalities_and_no_pointer():
    queue, restored = MemoryQueue(ROWS, DIM), MemoryQueue(ROWS, DIM)
    seen = fill(queue, [7, 7])
    assert set(queue.state_dict()) == {"keys", "row_modality"}
    restored.load_state_dict(queue.state_dict())
    for one in (queue, restored):
        one.write(torch.full((5, DIM), 99.0), torch.zeros(5, dtype=torch.int64), seen)
    assert torch.equal(queue.keys, restored.keys)


def test_blocks_depend_on_seed_and_step_and_not_on_the_state_of_torch():
    queue = MemoryQueue(1000, DIM)
    torch.manual_seed(1)
    order = queue.permutation(3, 7)
    torch.manual_seed(2)
    assert torch.equal(order, MemoryQueue(1000, DIM).permutation(3, 7))
    assert torch.equal(order.sort().values, torch.arange(1000))
    assert not torch.equal(order, queue.permutation(3, 8))
    assert not torch.equal(order, queue.permutation(4, 7))


def test_gauges_tell_a_collapsed_modality_from_a_spread_one():
    queue = MemoryQueue(300, 16)
    generator = torch.Generator().manual_seed(0)
    spread = functional.normalize(torch.randn(100, 16, generator=generator), dim=-1)
    collapsed = functional.normalize(torch.ones(100, 16) + 1e-4 * torch.randn(100, 16, generator=generator), dim=-1)
    queue.write(torch.cat([spread, collapsed]), torch.arange(2).repeat_interleave(100), 0)
    gauges = queue.collapse_gauges()
    assert set(gauges) == {0, 1}
    assert gauges[0].rows == 100 and gauges[0].effective_rank > 14 and abs(gauges[0].mean_cosine) < 0.05
    assert gauges[1].effective_rank < 1.1 and gauges[1].mean_cosine > 0.999


def test_gauges_equal_their_definitions():
    queue = MemoryQueue(40, 8)
    embeddings = functional.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    queue.write(embeddings, torch.zeros(40, dtype=torch.int64), 0)
    gauge = queue.collapse_gauges()[0]
    cosines = embeddings.double() @ embeddings.double().T
    off_diagonal = cosines[~torch.eye(40, dtype=torch.bool)]
    shares = torch.linalg.svdvals(embeddings.double())
    entropy = torch.distributions.Categorical(probs=shares / shares.sum()).entropy()
    assert gauge.mean_cosine == pytest.approx(off_diagonal.mean().item(), abs=1e-6)
    assert gauge.effective_rank == pytest.approx(entropy.exp().item(), rel=1e-6)


def test_gauges_take_at_most_512_rows_and_skip_what_has_too_few():
    queue = MemoryQueue(1100, 4)
    modality = torch.zeros(1001, dtype=torch.int64)
    modality[1000] = 5
    queue.write(torch.randn(1001, 4, generator=torch.Generator().manual_seed(2)), modality, 0)
    gauges = queue.collapse_gauges()
    assert set(gauges) == {0} and gauges[0].rows == 512
    assert gauges == queue.collapse_gauges()
    assert MemoryQueue(8, 4).collapse_gauges() == {}
