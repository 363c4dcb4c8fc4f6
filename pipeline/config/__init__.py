"""Settings, presets and the table of networks; standard library only."""
