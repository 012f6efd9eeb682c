"""Formats numbers of bytes."""

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def format_bytes(size: float) -> str:
    """A number of bytes with a binary unit, such as `23.6 GiB`."""
    unit = 0
    while size >= 1024 and unit < len(UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {UNITS[unit]}" if unit else f"{size} bytes"
