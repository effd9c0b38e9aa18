"""Draws for the canvases of a test, as a run draws them, and batches of some of their rows."""

from dataclasses import replace

from mermed.augment.draw import draw_views


def draw_for(table, canvases, num_local=3, seed=0, num_global=2):
    return draw_views(
        table,
        seed=seed,
        slot=canvases.slot,
        modality=canvases.modality.numpy(),
        size_px=canvases.size_px.numpy(),
        num_global=num_global,
        num_local=num_local,
    )


def rows_of(canvases, rows):
    return replace(
        canvases,
        pixels=canvases.pixels[rows],
        size_px=canvases.size_px[rows],
        modality=canvases.modality[rows],
        slot=canvases.slot[rows],
    )
