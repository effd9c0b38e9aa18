"""Memory that is lent again only when nothing of it is held any more."""

import gc

from mermed.augment.lent_memory import LentMemory


def test_what_is_held_is_never_lent_again_not_even_by_a_view_of_it():
    memory = LentMemory()
    first = memory.lend(2, 3)
    row, array = first[1], first.numpy()
    place = first.data_ptr()
    del first
    gc.collect()
    second = memory.lend(2, 3)
    assert second.data_ptr() != place
    del row
    gc.collect()
    assert memory.lend(2, 3).data_ptr() not in (place, second.data_ptr())
    del array
    gc.collect()
    assert memory.lend(2, 3).data_ptr() == place


def test_a_shape_has_memory_of_its_own():
    memory = LentMemory()
    place = memory.lend(4).data_ptr()
    other = memory.lend(5)
    assert other.shape == (5,) and other.data_ptr() != place
    assert memory.lend(4).data_ptr() == place
