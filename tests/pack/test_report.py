"""The report of a pack: complete numbers, no request, no script, no file or patient in it, readable everywhere."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mermed.contract import Manifest, SampleMeta, ShardRow
from mermed.errors import ContractError
from mermed.pack.pages.report import Pair, Reject, ReportData, caption, render_report, write_report
from mermed.pack.pages.report_advice import ADVICE, UNKNOWN, advice
from mermed.pack.pages.report_figures import LEAST_PX, flow_figure, histogram_figure, histogram_words
from mermed.pack.pages.report_gallery import MAX_PAIRS_PER_SOURCE, MAX_REJECTS
from mermed.pack.pages.report_notices import notices
from mermed.pack.pixels.thumbnail import thumbnail

SHARDS = Path(__file__).resolve().parents[2] / "shards"
PICTURE = thumbnail(np.tile(np.arange(96, dtype=np.uint8), (96, 1)))
ATTACK = "<script>alert('x')</script><img src=http://evil.example/x>"


def row(source, split="train", samples=5, number=0):
    modality, dataset = source.split("/")
    name = f"{modality}/{split}/{modality}-{split}-{number:06d}.tar"
    return ShardRow(
        name=name, modality=modality, dataset=dataset, split=split, samples=samples, bytes=2**20, sha256="0" * 64,
        index_sha256="1" * 64,
    )  # fmt: skip


def pair(source="us/one", key="one-1", text="benign · 512 × 512", size=None):
    return Pair(source=source, key=key, caption=text, raw_jpeg=PICTURE, packed_jpeg=size or PICTURE)


@pytest.fixture
def data():
    manifest = Manifest(
        shards=(row("us/one"), row("us/one", "test", 3), row("cxr/two", samples=90)),
        labels={"us/one": {"kind": "multi-class", "classes": ["benign", ATTACK]}},
        totals={"inputs": 112, "packed": 98, "duplicates": 4, "excluded": 7, "quarantined": 3},
        tool={"mermed": "9.9", "pillow": "1.2.3"},
        recipes={"options": "ab" * 32},
    )
    return ReportData(
        manifest=manifest,
        reasons={
            ("duplicates", "same_pixels"): 4,
            ("excluded", "not_listed"): 7,
            ("quarantined", "truncated"): 2,
            ("quarantined", "no_decoder"): 1,
        },
        flows={"us": {"duplicates": 4, "quarantined": 2}, "cxr": {"excluded": 5}},
        histograms={"us/one": [10, *[1] * 62, 4]},
        pairs=[pair(), pair("cxr/two", "two-1", f"{ATTACK} · 10 × 10")],
        rejects=[
            Reject(reason="truncated", detail="the pixel data ends early", place="us/one", raw_jpeg=PICTURE),
            Reject(reason="no_decoder", detail="JPEG 2000"),
        ],
        licences={"us/one": "CC-BY-4.0"},
        cards={"two": {"licence": "custom", "access": "agreement", "redistribution": False, "flaws": ["text labels"]}},
        options={"side_px": 512, "codec": "jpeg", "codecs": {"ct": "png"}},
    )


class Elements(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.attributes, self.tags, self.text, self.open = [], set(), [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def words(data):
    return " ".join(" ".join(Elements(render_report(data)).text).split())


def test_the_page_asks_the_network_for_nothing_and_runs_nothing(data):
    text = render_report(data)
    page = Elements(text)
    assert "default-src 'none'" in text
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
    loaded = [value for _, name, value in page.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert len(loaded) == 5
    assert all(value.startswith("data:image/jpeg;base64,") for value in loaded)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_labels_and_captions_are_text_and_never_markup(data):
    text = render_report(data)
    assert "<script>" not in text
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in text
    assert ATTACK in words(data)


def test_light_and_dark_wide_and_narrow_are_all_provided_for(data):
    text = render_report(data)
    assert "color-scheme: light dark" in text
    assert "@media (prefers-color-scheme: dark)" in text
    assert 'content="width=device-width, initial-scale=1"' in text
    assert "@media (max-width: 620px)" in text
    # Figures take their colours from the page, so they change with it.
    figures = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert set(re.findall(r'fill="([^"]+)"', figures)) <= {
        "currentColor", "none", "var(--good)", "var(--bad)", "var(--soft)", "var(--accent)",
    }  # fmt: skip


def test_the_numbers_close_and_every_input_is_in_the_flow(data):
    assert "112 inputs = 98 packed + 4 duplicates + 7 excluded + 3 quarantined" in words(data)
    flows = data.all_flows()
    assert flows["us"] == {"packed": 8, "duplicates": 4, "quarantined": 2}
    assert flows["other"] == {"excluded": 2, "quarantined": 1}
    assert sum(sum(flow.values()) for flow in flows.values()) == 112


def test_a_pack_that_knows_no_modality_of_what_it_left_out_still_shows_all_of_it(data):
    flows = replace(data, flows={}).all_flows()
    assert flows["other"] == {"duplicates": 4, "excluded": 7, "quarantined": 3}
    assert "other" not in replace(data, manifest=replace(data.manifest, totals={"inputs": 98}), flows={}).all_flows()


def test_every_reason_is_told_with_its_count_and_what_to_do(data):
    text = words(data)
    for (_, reason), count in data.reasons.items():
        assert f"{reason} {count} " in text
        assert advice(reason) in text


def test_every_reason_of_the_contract_has_its_advice():
    table = (SHARDS / "README.md").read_text().partition("| bin | reasons |")[2].partition("\n\n")[0]
    slugs = set(re.findall(r"`([a-z0-9_]+)`", table))
    assert len(slugs) > 20
    assert slugs <= set(ADVICE)
    assert all(sentence.endswith(".") and len(sentence) < 120 for sentence in ADVICE.values())
    assert advice("a_reason_of_a_recipe") == UNKNOWN


def test_licences_say_what_may_be_done(data):
    text = words(data)
    assert "us/one CC-BY-4.0 not stated not stated" in text
    assert "cxr/two custom agreement no" in text
    assert "text labels" in text
    assert "This collection must not be passed on as it is: cxr/two may not be redistributed." in notices(data)
    silent = replace(data, licences={}, cards={})
    assert "No licence is stated for cxr/two, us/one: find out what may be done with them." in notices(silent)


def test_options_versions_and_digest_are_there(data):
    text = words(data)
    for part in ("option: side_px 512", "option: codecs ct=png", "version: pillow 1.2.3", data.manifest.digest):
        assert part in text


def test_attention_is_called_only_where_it_is_needed(data):
    quiet = replace(
        data,
        reasons={},
        licences={"us/one": "CC0", "cxr/two": "CC0"},
        cards={},
        manifest=replace(data.manifest, totals={"inputs": 98, "packed": 98}),
    )
    assert notices(quiet) == []
    assert "Every input was packed." in words(quiet)
    loud = replace(quiet, histograms={"us/one": [95, *[0] * 62, 1]}, reasons={("quarantined", "burned_in"): 2})
    assert [sentence.split()[0] for sentence in notices(loud)] == ["2", "99%"]
    bad = replace(quiet, manifest=replace(data.manifest, totals={"inputs": 100, "quarantined": 6}))
    assert "6 of 100 inputs (6.0%) are quarantined" in notices(bad)[0]


def test_a_path_cannot_be_given_as_the_place_of_an_input():
    for place in ("us/one/Smith_John.png", "us/Smith John", "/data/x", "smith.dcm"):
        with pytest.raises(ContractError) as caught:
            Reject(reason="x", detail="", place=place)
        assert "mith" not in str(caught.value)
        with pytest.raises(ContractError):
            pair(source=place)
    with pytest.raises(ContractError):
        pair(key="1.2.840.113619")


def test_a_caption_is_made_of_the_allow_list_only():
    meta = SampleMeta(
        key="us-1", modality="us", dataset="one", split="train", group="feed" * 5, width=640, height=512,
        source_bits=12, labels={"findings": {"effusion": 1, "mass": 0, "nodule": None}}, window=(40.0, 400.0), frame=7,
        steps=("crop", "window"), licence="CC0",
    )  # fmt: skip
    assert caption(meta) == "effusion · 640 × 512 · 12 bit · window 40 / 400 · frame 7 · crop window"
    assert caption(
        msgspec.structs.replace(meta, labels={"class": "benign"}, window=None, frame=None, steps=(), source_bits=8)
    ) == ("benign · 640 × 512")


def test_without_thumbnails_the_page_says_so(data):
    plain = replace(data, pairs=(), rejects=[replace(reject, raw_jpeg=None) for reject in data.rejects])
    text = render_report(plain)
    assert "<img" not in text
    assert "No thumbnails" in text
    assert "the pixel data ends early" in text


def test_each_dataset_shows_at_most_eight_pairs(data):
    many = [pair(key=f"one-{number}") for number in range(50)]
    text = render_report(replace(data, pairs=many, rejects=()))
    assert text.count('alt="packed"') == MAX_PAIRS_PER_SOURCE


def test_a_page_of_many_large_thumbnails_stays_below_20_mb_and_says_what_it_left_out(data):
    heavy = bytes(60_000)
    many = [pair(f"us/set{n}", f"set{n}-{m}", size=heavy) for n in range(60) for m in range(8)]
    text = render_report(replace(data, pairs=many))
    assert len(text) < 20_000_000
    assert 60 <= text.count('alt="packed"') < 480
    assert "samples per dataset are shown, to keep this page small" in text


def test_a_rare_reason_is_seen_among_many_of_another(data):
    many = [
        Reject(reason="corrupt", detail=f"damage {number}", place="us/one", raw_jpeg=PICTURE) for number in range(500)
    ]
    text = words(replace(data, rejects=[*many, Reject(reason="burned_in", detail="the header says so")]))
    assert "the header says so" in text
    assert f"{MAX_REJECTS} of 501 are shown." in text


def test_rejects_that_look_alike_are_counted_and_not_repeated(data):
    same = [Reject(reason="empty", detail="0 bytes", place="us/one", count=2)] * 3
    text = words(replace(data, rejects=same))
    assert text.count("0 bytes") == 1
    assert "empty × 6 0 bytes us/one" in text


def test_one_lost_file_in_ten_million_can_be_seen():
    figure = flow_figure({"ct": {"packed": 10_000_000, "quarantined": 1}})
    heights = [float(height) for height in re.findall(r'<rect[^>]*height="([0-9.]+)"', figure)]
    assert min(height for height in heights if height > 0) == LEAST_PX
    assert "<title>ct: 1 quarantined</title>" in figure


def test_labels_of_a_flow_never_overlap():
    figure = flow_figure({f"m{number}": {"packed": 1 + 10 ** (number % 4)} for number in range(12)})
    tops = [float(y) for y in re.findall(r'<text x="1[0-9.]+" y="([0-9.]+)"', figure)]
    assert len(tops) == 12
    assert (np.diff(tops) >= 28).all()
    bottom = float(re.search(r'viewBox="0 0 700 ([0-9]+)"', figure)[1])
    assert max(tops) + 16 < bottom


def test_an_empty_flow_and_an_empty_histogram_are_drawn():
    assert "0 inputs" in flow_figure({})
    assert "<rect" not in histogram_figure([0] * 64)
    assert histogram_words([0] * 64) == "no pixels"


def test_a_histogram_is_told_in_words_and_its_towers_are_cut():
    counts = [900, *[1] * 62, 38]
    assert histogram_words(counts) == "90% black, 4% white, median 2"
    figure = histogram_figure(counts)
    assert figure.count('fill="var(--bad)"') == 2
    assert max(float(height) for height in re.findall(r'height="([0-9.]+)"', figure)) <= 60


def test_near_duplicates_are_told_apart_from_not_having_looked(data):
    assert "mermed-shard dedupe" in words(data)
    assert "nearly look like another one: 1,234 us." in words(replace(data, near_duplicates={"us": 1234}))


def test_the_file_is_written_whole_and_the_same_every_time(data, tmp_path):
    for name in ("a.html", "b.html"):
        write_report(data, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]
    broken = replace(data, licences={"us/one": "caf\udce9"})
    write_report(broken, tmp_path / "a.html")
    assert "caf" in (tmp_path / "a.html").read_text("utf-8")
