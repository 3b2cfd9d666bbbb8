"""Ray: connecting to a cluster, what fits on it, and the work-arounds for what Ray has no public interface for."""
