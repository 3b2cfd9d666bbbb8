"""Everything about a graphics card in one command: is it right, how fast is it, where does time go.

`python -m benchmarks.gpu`: one JSON and a table, in less than 8 minutes. It needs torch, numpy and the repository
alone; what else is missing there (Ray, MLflow, pyarrow, spconv, open_clip) is named, and sections that need it are
left out by name. `benchmarks/gpu_kit.sh` makes the folder that travels to a bare machine. `--device cpu --small` is
a dry run that needs no card.
"""
