"""SemanticKITTI: a LiDAR and a front camera on a car, with labels for every scan; and all data in its layout."""
