"""mermed-shard: raw medical images to shards, and back to certainty about them. Needs no torch."""

import json
from pathlib import Path

import click

from mermed.cli.door import Door
from mermed.cli.shard_adopt import adopt
from mermed.cli.shard_compare import dedupe, split_check
from mermed.cli.shard_merge import merge
from mermed.cli.shard_pack import pack
from mermed.cli.shard_preview import preview
from mermed.cli.shard_scan import recipes, scan
from mermed.cli.shard_show import show
from mermed.cli.shard_tombstones import tombstones
from mermed.cli.shard_verify import index, verify

_FOLDER = click.Path(path_type=Path)


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mermed")
def main() -> None:
    """Pack medical images into tar shards, check them, and look at them.

    \b
    mermed-shard phantoms SRC                      a synthetic source to try everything on
    mermed-shard scan PATH                         which known datasets lie there, or a draft of a recipe
    mermed-shard pack SRC --out DIR                SRC/<modality>/<dataset>/labels.csv -> shards
    mermed-shard pack SRC --recipe NAME --out DIR  a known dataset -> shards
    mermed-shard verify DIR                        every byte, image, key and group; --quick, --repair
    mermed-shard info DIR                          what it holds
    mermed-shard stats DIR                         mean and std per modality
    mermed-shard show DIR KEY                      one sample
    mermed-shard preview DIR --out FILE.png        samples of every source
    mermed-shard dedupe DIR...                     equal, near, mirrored and cropped copies
    mermed-shard split-check DIR...                patients and copies in two splits, also across collections
    mermed-shard merge OUT DIR...                  several collections as one
    mermed-shard adopt TARS... --out DIR           WebDataset shards of others
    mermed-shard index DIR                         rebuild lost or stale .idx files
    mermed-shard tombstones DIR --group G          keys of a group, to be drawn no more
    """


for command in (pack, scan, recipes, verify, index, show, preview, dedupe, split_check, merge, adopt, tombstones):
    main.add_command(command)


@main.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(folder: Path, as_json: bool) -> None:
    """Show what a packed collection holds: sources, samples, shards, labels, totals."""
    from mermed.contract import load_manifest
    from mermed.pack.checks.info import describe

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
    from mermed.pack.checks.stats import check_stats, compute_stats

    manifest = load_manifest(folder)
    computed = compute_stats(folder, manifest)
    if as_json:
        click.echo(json.dumps(computed, indent=1))
    else:
        shard_view.show_stats(computed)
    check_stats(computed, manifest)


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
