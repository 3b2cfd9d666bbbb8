"""Networks: sparse backbones, the student that classifies points, transfer of weights, and shared losses."""
