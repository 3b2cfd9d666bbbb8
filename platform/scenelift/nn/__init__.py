"""Networks: sparse backbones, the student that names points, taking over pre-trained weights, and losses that no
method owns.
"""
