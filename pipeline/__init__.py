"""From raw pictures to a trained, exactly resumable image classifier."""
