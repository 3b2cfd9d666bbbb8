"""SemanticKITTI: a LiDAR and a front camera on a car, with labels for every scan; also any data in its layout."""

from datasets.semantickitti.sequence import Scan
from datasets.semantickitti.source import SemanticKITTI

__all__ = ["Scan", "SemanticKITTI"]
