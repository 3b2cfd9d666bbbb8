"""Point clouds on their way into a network: augmentation and collation into batches of voxels."""
