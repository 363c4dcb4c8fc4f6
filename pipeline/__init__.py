"""From raw images to a trained, exactly resumable image classifier."""
