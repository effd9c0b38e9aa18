"""The world: what torchrun says, and contiguous shares that cover a batch once."""

import pytest

from mermed.errors import ConfigError
from mermed.world import World, world_from


def test_the_shares_of_all_ranks_are_the_batch():
    offsets = [offset for rank in range(4) for offset in World(rank=rank, num_ranks=4).share(12)]
    assert offsets == list(range(12))


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="multiple of 3"):
        World(num_ranks=3).share(10)


def test_the_world_is_read_from_what_torchrun_sets():
    environ = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert world_from(environ) == World(rank=5, num_ranks=8, rank_of_node=1, ranks_per_node=4)
    assert world_from({}) == World()
    assert world_from({}).is_main


def test_a_rank_outside_its_world_is_refused():
    with pytest.raises(ConfigError):
        World(rank=2, num_ranks=2)
