"""Labels for every point of scans, by a trained student: the command around `scenelift.inference`."""
