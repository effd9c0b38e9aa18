"""Flaws of public collections that travel with every number measured on them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownFlaw:
    """A badge of a few words, the reason behind it, and where it applies.

    It applies to a dataset of `modality` ("" means any) whose name holds `name_part`.
    """

    name_part: str
    modality: str
    badge: str
    reason: str


_SLICES = "neighbouring slices of one scan are nearly equal: only splits by patient count"
_SCANS = "neighbouring B-scans are nearly equal: only splits by volume or patient count"
_COLOUR = "three mean colours solve more than half of it (arXiv 2409.11546), and no patients are known"

KNOWN_FLAWS = (
    KnownFlaw("kermany", "oct", "patients overlap", "the published train and test sets share patients"),
    KnownFlaw("duke", "oct", "slices of a volume", _SCANS),
    KnownFlaw("srinivasan", "oct", "slices of a volume", _SCANS),
    KnownFlaw("busi", "us", "duplicates", "the published set repeats images, some under two labels; text is burnt in"),
    KnownFlaw(
        "lc25000", "path", "augmented copies", "25,000 images were made from 1,250: copies must not cross splits"
    ),
    KnownFlaw("breakhis", "path", "82 patients", "7,909 images of 82 patients: only splits by patient count"),
    KnownFlaw("nct_crc", "path", "colour shortcut", _COLOUR),
    KnownFlaw("crc_val_he", "path", "colour shortcut", _COLOUR),
    KnownFlaw("iq_oth", "ct", "slices of 110 cases", _SLICES),
    KnownFlaw("sars_cov", "ct", "slice set", _SLICES),
    KnownFlaw("hrctcov", "ct", "slice set", _SLICES),
    KnownFlaw("ictcf", "ct", "slice set", _SLICES),
    KnownFlaw("chest_ctscan", "ct", "slice set", _SLICES),
    KnownFlaw("head_ct", "ct", "guessed patients", "no patient ids: slices of a person were joined by likeness alone"),
    KnownFlaw("tcga_luad", "ct", "few patients", "the label is the contrast flag of the scan, of few patients"),
    KnownFlaw("ham10000", "derm", "many per lesion", "several images of a lesion: only splits by lesion count"),
    KnownFlaw("eye_diseases", "cfp", "format gives the label", "camera and file format differ by class: a shortcut"),
    KnownFlaw("pediatric_pneumonia", "cxr", "small, squashed", "children only; the public copy lost its aspect ratio"),
    KnownFlaw("nih_chest", "cxr", "text-mined labels", "labels were read from reports by a program, so they are noisy"),
    KnownFlaw(
        "covid_cxr", "cxr", "source gives the label", "one class, from mixed sources: disease and source are tied"
    ),
    KnownFlaw("pocus", "us", "few sources", "labels follow the contributor: a class comes from a few sources"),
)


def flaws_of(modality: str, dataset: str) -> tuple[KnownFlaw, ...]:
    """The known flaws of one dataset; empty when none is known, which proves nothing."""
    name = dataset.lower().replace("-", "_")
    return tuple(flaw for flaw in KNOWN_FLAWS if flaw.modality in ("", modality) and flaw.name_part in name)
