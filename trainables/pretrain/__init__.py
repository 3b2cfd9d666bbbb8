"""The baselines PPKT and SLidR: contrastive pre-training of a backbone against image features.

`python -m trainables.pretrain --method ppkt|slidr [--group.field VALUE ...]`
"""
