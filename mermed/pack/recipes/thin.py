"""Recipe thin: at most so many of the unlabelled images of one group, because neighbouring slices are nearly equal."""

from collections import defaultdict
from collections.abc import Sequence

from mermed.pack.listing import ListedImage


def thin(images: Sequence[ListedImage], most: int) -> tuple[list[ListedImage], list[ListedImage]]:
    """Part `images` into those that stay and those that go.

    Of the unlabelled images of one group at most `most` stay, evenly spaced in the order of their names. Images with
    labels, and images without a group, all stay.
    """
    groups: dict[str, list[ListedImage]] = defaultdict(list)
    for image in images:
        if image.group_id and not image.labels and not image.frame_labels:
            groups[image.group_id].append(image)
    going: set[str] = set()
    for members in groups.values():
        members.sort(key=lambda image: image.file)
        staying = set(_evenly(len(members), most))
        going |= {image.file for number, image in enumerate(members) if number not in staying}
    return [i for i in images if i.file not in going], [i for i in images if i.file in going]


def _evenly(count: int, most: int) -> range | list[int]:
    """`most` numbers below `count`, evenly spaced with half a step free at both ends; all when there are fewer."""
    return range(count) if count <= most else [(2 * n + 1) * count // (2 * most) for n in range(most)]
