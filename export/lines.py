"""What an export prints while it works."""


def say(what: str, text: str) -> None:
    """Print one line of progress."""
    print(f"{what:>11}  {text}", flush=True)
