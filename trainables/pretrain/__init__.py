"""The baselines PPKT and SLidR: contrastive pre-training of a backbone against image features."""
