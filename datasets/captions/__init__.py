"""What data sets of captioned images share: regions of a detector, and which of its classes a phrase names."""
