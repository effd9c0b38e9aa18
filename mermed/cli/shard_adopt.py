"""mermed-shard adopt: third-party WebDataset shards as a collection."""

from pathlib import Path
from typing import Any

import click

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("patterns", metavar="TARS...", nargs=-1, required=True)
@click.option("--out", required=True, type=_FOLDER, help="Folder of the new collection.")
@click.option("--modality", default="", help="What the images are: cfp, ct, cxr, derm, oct, path, us or another.")
@click.option("--dataset", default="", help="Name of the dataset they are from.")
@click.option("--split", default="train", show_default=True, type=click.Choice(["train", "val", "test"]))
@click.option("--licence", default="", help="Written into every sample.")
@click.option("--label-field", default="", help="Field of each .json that is the class. [default: the .cls member]")
@click.option("--group-field", default="", help="Field of each .json that names the patient. [default: each alone]")
@click.option("--shard-mb", default=256, show_default=True, type=click.IntRange(min=1), help="Size of a shard in MiB.")
@click.option("--salt-file", type=_FOLDER, help="Secret salt of keys and groups. [default: ~/.config/mermed/salt]")
@click.option("--rewrite", is_flag=True, help="Write new shards; without it, shards must keep our contract.")
def adopt(patterns: tuple[str, ...], out: Path, salt_file: Path | None, rewrite: bool, **facts: Any) -> None:
    """Take over WebDataset shards: paths or URLs, with {000..012}, {a,b} or *.

    \b
    Foreign keys may name patients, and foreign JSON may say anything: neither is kept. Image data is not encoded again,
    metadata around it is dropped. What is no 8-bit grey or RGB JPEG or PNG is listed in quarantine.csv.
    Without --rewrite, shards that keep our contract (a manifest was lost, a part was copied) are linked as they are.
    Reads file, https, s3, gs and memory URLs; commands (pipe:) and chained URLs are refused.
    """
    from mermed.cli import shard_view
    from mermed.pack.checks.adopt import Adoption
    from mermed.pack.checks.adopt import adopt as adopt_shards
    from mermed.pack.checks.adopt_whole import adopt_whole
    from mermed.pack.identity import load_identity

    if not rewrite:
        with shard_view.shard_progress("adopting") as watch:
            manifest = adopt_whole(patterns, out, watch=watch)
        click.echo(f"adopted {manifest.totals['packed']:,} samples in {len(manifest.shards):,} shards as they are")
        return
    if not facts["modality"] or not facts["dataset"]:
        raise click.UsageError("--rewrite needs --modality and --dataset")
    identity, salt = load_identity(salt_file)
    if salt.is_new:
        shard_view.announce_salt(salt.path)
    with shard_view.shard_progress("adopting") as watch:
        adopted = adopt_shards(patterns, out, Adoption(**facts), identity, watch=watch)
    totals = adopted.manifest.totals
    click.echo(f"adopted {totals['packed']:,} of {totals['inputs']:,} samples; quarantined {totals['quarantined']:,}")
    for reason, count in adopted.reasons.most_common():
        click.echo(f"  {count:,} {reason}")
    if adopted.left_out:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in adopted.left_out.most_common(8))
        click.echo(f"members left out, unopened: {kinds}")
    click.echo(f"next  mermed-shard verify {out}")
