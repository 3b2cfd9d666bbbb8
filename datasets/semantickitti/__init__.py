"""SemanticKITTI: a LiDAR and a front camera on a car, with labels for every scan; also any data in its layout."""
