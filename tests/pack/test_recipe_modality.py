"""A recipe that packs one modality leaves out what DICOM headers say is another, even without a table that tells."""

import numpy as np
import pytest

pytest.importorskip("pydicom")

from mermed.pack.phantoms.dicom import save_ct, save_cxr
from mermed.pack.readers.raw import Bounds, RejectedInput
from mermed.pack.readers.reading import read_image
from mermed.pack.recipes.lister import list_recipe
from mermed.pack.recipes.shelf import find_recipe


def test_a_radiograph_in_a_tree_of_ct_is_excluded_by_its_header(tmp_path):
    folder = tmp_path / "LIDC-IDRI-0001" / "1.2" / "1.3"
    folder.mkdir(parents=True)
    save_ct(np.full((16, 16), 40.0), folder / "000001.dcm", patient=1)
    save_cxr(np.linspace(0, 1, 256).reshape(16, 16), folder / "000002.dcm", patient=1)
    ct, film = list_recipe(tmp_path, find_recipe("lidc_idri")).images
    assert read_image(ct.path, Bounds(), ct.treatment).scale == "hounsfield"
    with pytest.raises(RejectedInput) as caught:
        read_image(film.path, Bounds(), film.treatment)
    assert (caught.value.bin, caught.value.reason_slug) == ("excluded", "other_modality")
