"""Advice: what each reason of a pack means and what to do about it, in one sentence. Slugs as in shards/README.md."""

ADVICE = {
    "same_pixels": "The same picture was packed already; nothing to do.",
    "same_pixels_other_label": "The same picture carries another label elsewhere: ask the source which one is right.",
    "same_pixels_other_split": "The same picture is in two splits: the held-out copy was kept, training cannot see it.",
    "not_listed": "No row of a label file names it: add a row, or leave it where it is.",
    "listed_twice": "Two rows name the same file: keep one of them.",
    "no_row": "No row of the dataset's tables belongs to it: check that the label file is the one of this release.",
    "mask": "It is a mask, not a picture; nothing to do.",
    "label_conflict": "Rows of the same picture disagree about its label: settle it in the label file.",
    "no_modality": "The recipe could not tell its modality: name it in the label file or correct the recipe.",
    "video": "It is a video or animation that this pack does not sample: give it a recipe that says how.",
    "volume": "It is a volume that this pack does not slice: give it a recipe that says how.",
    "multi_frame": "It has many frames and nothing says which to take: give it a recipe that says how.",
    "segmentation": "It is a segmentation, not a picture; nothing to do.",
    "not_sampled": "The frames between the sampled ones; raise the number of frames in the recipe to keep more.",
    "near_duplicate_frame": "It hardly differs from the frame before it; a lower least change in the recipe keeps it.",
    "blank_tile": "The tile shows glass and no tissue; nothing to do.",
    "pen_tile": "The tile shows the ink of a pen; nothing to do.",
    "little_content": "Hardly anything is on it; nothing to do.",
    "missing": "A row names a file that is not there: check that the download is complete.",
    "path_escape": "A row names a file outside of the source: correct the row.",
    "not_a_file": "It is a folder, a link or a device: put the file itself there.",
    "unreadable": "The system refused to read it: check its permissions and the disk.",
    "empty": "The file has no content: copy it again.",
    "file_limit": "The file is larger than a single input may be: split it, or raise the limit.",
    "pixel_limit": "It claims more pixels than allowed: if that is true, raise --max-pixels.",
    "limits": "Reading it went beyond a limit of memory or nesting: look at it by hand, it may be a bomb.",
    "not_an_image": "Its content is no image format that is known here: see what it really is.",
    "not_dicom": "It lacks the mark of DICOM files: if it is one nevertheless, allow bare DICOM in its recipe.",
    "preamble_exec": "It can be run as a program: tell whoever is responsible for security where it came from.",
    "truncated": "The file ends too early: copy or download it again.",
    "corrupt": "The file is damaged: copy or download it again.",
    "no_pixels": "It is a report, a plan or another object without pixels; nothing to do.",
    "no_decoder": "Its compression needs a decoder that is not installed; the detail names it.",
    "missing_extra": "A package that reads this format is not installed; the detail is the command that installs it.",
    "burned_in": "Its header says that text is burned into the pixels: check it for names before you allow it.",
    "blank": "Its pixels are all but equal: see if the source shows a picture there.",
    "range": "Its values lie outside of what its unit can mean: check its rescale, its sign and its offset.",
    "timeout": "Its decoder made nothing for too long and was stopped: look at it by hand.",
    "decoder_crash": "Its decoder broke, and was alone in doing so: look at it by hand, and report it to its makers.",
    "changed": "The file changed while it was read: pack again when nothing writes to the source.",
    "defect": "A defect of mermed stopped it: please report the detail, which holds nothing of the file.",
}
UNKNOWN = "The lists beside the shards name its files and the detail."


def advice(reason: str) -> str:
    """One sentence on `reason`; reasons that a recipe made up get a general one."""
    return ADVICE.get(reason, UNKNOWN)
