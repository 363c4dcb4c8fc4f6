"""Several hosts that train one run: who they are, and what they tell each other; standard library only."""

__all__ = ["connection", "hosts", "join"]
