"""mermed-shard: raw medical images to shards, and back to certainty about them. Needs no torch."""

import json
from pathlib import Path

import click

from mermed.cli.door import Door

DEFAULT_MAX_BAD = "5%"
_FOLDER = click.Path(path_type=Path)


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mermed")
def main() -> None:
    """Pack medical images into tar shards, check them, and look at them.

    \b
    mermed-shard phantoms SRC            a synthetic source to try everything on
    mermed-shard pack SRC --out DIR      SRC/<modality>/<dataset>/labels.csv -> shards
    mermed-shard verify DIR              every byte, image, key and group
    mermed-shard info DIR                what it holds
    mermed-shard stats DIR               mean and std per modality
    mermed-shard index DIR               rebuild lost or stale .idx files
    """


class Share(click.ParamType):
    """A share of a whole: `0.05` or `5%`; a bare number above 1 can only mean percent, a bare 1 could mean either."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share in [0, 1]; fails the command line for anything else."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            number = float(text.rstrip("% "))
        except ValueError:
            number = -1.0
        share = number / 100.0 if text.endswith("%") or number > 1.0 else number
        if not 0.0 <= share <= 1.0 or text == "1":
            self.fail(f"{text!r} is no share; write 0.05 or 5%", param, ctx)
        return share


@main.command()
@click.argument("source", type=_FOLDER)
@click.option("--out", required=True, type=_FOLDER, help="Folder to write; must be empty or absent.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that read and encode. [default: one per core]")
@click.option("--side-px", default=512, show_default=True, help="Longest allowed short side; never enlarges.")
@click.option("--shard-mb", default=256, show_default=True, help="Size in MiB at which a shard is closed.")
@click.option("--codec", default="jpeg", show_default=True, type=click.Choice(["jpeg", "png"]), help="Image codec.")
@click.option(
    "--ct-window", default="soft_tissue", show_default=True, help="CT in HU: soft_tissue, lung, brain, bone, blood."
)
@click.option("--max-pixels", default=2**28, show_default=True, help="Refuse images that claim more pixels.")
@click.option("--salt-file", type=_FOLDER, help="Secret salt of keys and groups. [default: ~/.config/mermed/salt]")
@click.option("--max-bad", default=DEFAULT_MAX_BAD, show_default=True, type=Share(), help="Bad inputs accepted.")
def pack(
    source: Path,
    out: Path,
    workers: int | None,
    side_px: int,
    shard_mb: int,
    codec: str,
    ct_window: str,
    max_pixels: int,
    salt_file: Path | None,
    max_bad: float,
) -> None:
    """Pack SRC/<modality>/<dataset>/labels.csv into shards.

    \b
    labels.csv has the columns file and label, and may have patient_id, group_id, split (train, val, test) and licence.
    What shares a patient_id or group_id never crosses splits; an empty split is drawn 70/15/15 by that group.
    What cannot be read is listed in quarantine.csv with its reason. Exits 3 when that is more than --max-bad.
    """
    from mermed.cli import shard_view
    from mermed.pack.identity import load_identity
    from mermed.pack.options import PackOptions
    from mermed.pack.packing import check_bad_share
    from mermed.pack.packing import pack as pack_collection
    from mermed.pack.workers import default_workers

    options = PackOptions(
        side_px=side_px,
        shard_mb=shard_mb,
        codec=codec,  # type: ignore[arg-type]
        ct_window=ct_window,
        max_pixels=max_pixels,
    )
    identity, salt = load_identity(salt_file)
    if salt.is_new:
        shard_view.announce_salt(salt.path)
    with shard_view.pack_progress() as watch:
        result = pack_collection(
            source, out, options=options, identity=identity, num_workers=workers or default_workers(), watch=watch
        )
    shard_view.show_pack(result, out)
    check_bad_share(result, max_bad, out)


@main.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--workers", type=click.IntRange(min=1), help="Threads. [default: one per core]")
def verify(folder: Path, workers: int | None) -> None:
    """Check every byte of a packed collection; names every problem by shard and key, and exits 4 if there is one."""
    from mermed.cli import shard_view
    from mermed.pack.verify import verify as verify_collection
    from mermed.pack.workers import default_workers

    with shard_view.verify_progress() as watch:
        verification = verify_collection(folder, num_workers=workers or default_workers(), watch=watch)
    verification.raise_if_broken()
    click.echo(f"verified {verification.num_samples:,} samples in {verification.num_shards:,} shards: all as packed")


@main.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(folder: Path, as_json: bool) -> None:
    """Show what a packed collection holds: sources, samples, shards, labels, totals."""
    from mermed.contract import load_manifest
    from mermed.pack.info import describe

    description = describe(load_manifest(folder))
    if as_json:
        click.echo(json.dumps(description, indent=1))
    else:
        from mermed.cli import shard_view

        shard_view.show_info(description, folder)


@main.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(folder: Path, as_json: bool) -> None:
    """Recompute mean and standard deviation per modality from the shards, and compare with the manifest."""
    from mermed.cli import shard_view
    from mermed.contract import load_manifest
    from mermed.pack.stats import check_stats, compute_stats

    manifest = load_manifest(folder)
    computed = compute_stats(folder, manifest)
    if as_json:
        click.echo(json.dumps(computed, indent=1))
    else:
        shard_view.show_stats(computed)
    check_stats(computed, manifest)


@main.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
def index(folder: Path) -> None:
    """Rebuild lost or stale .idx files; refuses for a shard whose sha256 is not that of the manifest."""
    from mermed.pack.reindex import reindex

    click.echo(f"rebuilt {reindex(folder):,} indices; the others were right")


@main.command()
@click.argument("out", type=_FOLDER)
@click.option("--images", default=60, show_default=True, type=click.IntRange(min=1), help="Images per modality.")
@click.option("--seed", default=0, show_default=True, help="Seed; equal seeds give equal bytes.")
def phantoms(out: Path, images: int, seed: int) -> None:
    """Make a synthetic source of seven modalities as real DICOM, PNG and JPEG files, some broken on purpose."""
    from mermed.pack.phantoms.source import make_phantoms

    made = make_phantoms(out, images_per_modality=images, seed=seed)
    click.echo(f"made {sum(made.values()):,} files in {len(made)} modalities: " + ", ".join(sorted(made)))
    click.echo(f"next  mermed-shard pack {out} --out DIR --salt-file {out / 'salt'}")


if __name__ == "__main__":
    main()
