"""One trial: how it is trained, stopped early, recorded and confirmed."""
