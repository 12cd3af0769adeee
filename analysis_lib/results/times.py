"""Times in words. Apart from words.py: what waits for a notebook loads no numpy."""


def duration(seconds) -> str:
    """A time in words: "40 s", "12 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
