"""From a finished run to verified files that a device can run."""
