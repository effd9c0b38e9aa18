"""The sheet in a run's report: always small enough, never a request, and no report is lost for it."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from mermed.page import page
from mermed.train import report_views
from mermed.train.report_views import VIEWS_NAME, views_parts


def _shown(parts):
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', "".join(parts))
    return base64.b64decode(data)


@pytest.fixture
def noisy_run(tmp_path):
    """A run whose sheet can hardly be compressed."""
    noise = np.random.default_rng(0).integers(0, 256, (700, 500, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / VIEWS_NAME)
    return tmp_path


def test_the_sheet_lies_in_the_page_and_asks_the_network_for_nothing(noisy_run):
    parts = views_parts(noisy_run)
    assert not re.search(r'https?:|src="(?!data:)', page("run", "".join(parts)))
    with Image.open(io.BytesIO(_shown(parts))) as shown:
        assert (shown.format, shown.size) == ("JPEG", (500, 700))
    assert "pixels of patients" in parts[0]


@pytest.mark.parametrize("limit", [100_000, 20_000])
def test_a_sheet_is_made_coarser_and_then_smaller_until_it_fits(noisy_run, monkeypatch, limit):
    monkeypatch.setattr(report_views, "MAX_BYTES", limit)
    data = _shown(views_parts(noisy_run))
    assert limit / 4 < len(data) <= limit
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.size[0] / shown.size[1] == pytest.approx(5 / 7, abs=0.01)


def test_a_run_without_a_sheet_or_with_half_of_one_has_a_sentence_instead(noisy_run):
    path = noisy_run / VIEWS_NAME
    path.write_bytes(path.read_bytes()[:5000])
    (told,) = views_parts(noisy_run)
    assert "cannot be read" in told
    path.write_bytes(b"")
    assert "cannot be read" in views_parts(noisy_run)[0]
    path.unlink()
    assert "left no sheet" in views_parts(noisy_run)[0]
