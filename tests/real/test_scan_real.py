"""Scan over the real corpus: a draft for every dataset finds what its labels.csv says. Skipped where it is absent."""

from mermed.pack.plain import walk
from mermed.pack.recipes.scan_draft import draft_recipe


def test_a_draft_for_every_real_dataset_says_what_its_labels_csv_says(real_data):
    known = {}
    for image in walk(real_data / "real").images:
        known.setdefault(real_data / "real" / image.place.removesuffix(f"/{image.file}"), []).append(image)
    assert known
    for root, images in known.items():
        drafted = {image.file: image for image in draft_recipe(root).listing.images}
        assert set(drafted) == {image.file for image in images}, root
        for image in images:
            found = drafted[image.file]
            assert (found.labels, found.patient_id, found.group_id) == (image.labels, image.patient_id, image.group_id)
            assert found.split == image.split


def test_the_modality_of_most_real_datasets_shows_in_their_names(real_data):
    roots = sorted(path.parent for path in (real_data / "real").glob("*/*/labels.csv"))
    guessed = [draft_recipe(root).recipe.modality for root in roots]
    right = [guess == root.parent.name for guess, root in zip(guessed, roots, strict=True)]
    wrong = [guess not in ("unknown", root.parent.name) for guess, root in zip(guessed, roots, strict=True)]
    assert sum(right) >= 0.7 * len(roots)
    assert not any(wrong)
