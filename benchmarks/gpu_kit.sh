#!/bin/bash
# Makes .gpu/, less than 60 MB, which goes along with a checkout to a machine that has a card and no network:
#   bash benchmarks/gpu_kit.sh [NUSCENES_ROOT]
# and there, in the checkout's root, where python3 has torch and numpy:
#   mkdir -p /tmp/site && tar -C /tmp/site -xJf .gpu/site.tar.xz
#   PYTHONPATH=/tmp/site python3 -m benchmarks.gpu
# The packed packages are for Python TARGET (3.12) on Linux x86-64. A keyframe of the named nuScenes goes along for
# true sizes: never give the folder away with it.
set -euo pipefail
PY=${PY:-.venv/bin/python}
TARGET=${TARGET:-3.12}
PACKAGES="spconv-cu126==2.3.8 cumm-cu126==0.7.11 pccm==0.4.16 ccimport==0.4.4 lark portalocker termcolor
  open_clip_torch==3.3.0 ftfy wcwidth annotated-types tenacity"
PLATFORMS=$(printf -- '--platform manylinux%s_x86_64 ' _2_28 _2_17 2014 1)

mkdir -p .gpu
if [ ! -s .gpu/site.tar.xz ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # shellcheck disable=SC2086
  $PY -m pip download -q --no-deps --only-binary=:all: --python-version "$TARGET" --implementation cp $PLATFORMS \
    -d "$work/wheels" $PACKAGES
  $PY -m pip download -q --no-deps -d "$work/wheels" fire || true  # of pccm's command line alone
  mkdir "$work/site"
  for wheel in "$work"/wheels/*.whl; do $PY -m zipfile -e "$wheel" "$work/site"; done
  for source in "$work"/wheels/*.tar.gz; do
    [ ! -e "$source" ] || $PY -m pip install -q --no-deps --no-compile --target "$work/site" "$source"
  done
  rm -rf "$work/site/open_clip_train"
  tar -C "$work/site" -cf - . | xz -T0 -6 > .gpu/site.tar.xz
fi
$PY -m benchmarks.gpu.frames .gpu/frames.npz "$@"
du -sh .gpu
