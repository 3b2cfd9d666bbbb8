"""Networks: sparse backbones, the student that classifies points, transfer of pre-trained weights, and shared
losses.
"""
