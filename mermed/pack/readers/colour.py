"""Colour: any picture of the image library as 8-bit grey or sRGB, without alpha, palette or profile."""

import io
from functools import lru_cache

from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 2**22
_PROFILED_MODES = ("RGB", "CMYK", "RGBA")


def to_colour(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The picture in mode "L" or "RGB", and the notes of what was done: transparent parts over black, "icc".

    An embedded profile is followed for colour. Grey keeps its values: in medical grey a profile is an accident of the
    program that saved it, and following it would bend the tones.
    """
    image = image.convert("RGBA" if "transparency" in image.info else "RGB") if image.mode == "P" else image
    image, notes = _to_srgb(image)
    return _without_alpha(image), notes


def _to_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile or image.mode not in _PROFILED_MODES:
        return image, ()
    mode = image.mode.removesuffix("A")
    transform = _transform(profile, mode) if len(profile) <= MAX_PROFILE_BYTES else "the profile is too large"
    if transform is None:
        return image, ()
    if isinstance(transform, str):
        return image, ("icc_ignored",)
    colours = transform.apply(image.convert(mode) if image.mode != mode else image)
    if image.mode == "RGBA":
        colours.putalpha(image.getchannel("A"))
    return colours, ("icc",)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | str | None:
    """From `profile` to sRGB; None when it is sRGB itself, a message when it is of no use for pictures of `mode`."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and "sRGB" in ImageCms.getProfileDescription(source):
            return None
        return ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return f"the profile cannot be used ({type(error).__name__})"


def _without_alpha(image: Image.Image) -> Image.Image:
    """Grey or RGB: transparent parts over black, CMYK resolved."""
    if image.mode in ("L", "RGB"):
        return image if "transparency" not in image.info else _on_black(image.convert("RGBA"))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "La"):
        return _on_black(image.convert("RGBA")).convert("L")
    if image.mode in ("RGBA", "RGBa", "PA"):
        return _on_black(image.convert("RGBA"))
    return image.convert("RGB")


def _on_black(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGBA", image.size, (0, 0, 0, 255))
    canvas.alpha_composite(image)
    return canvas.convert("RGB")
