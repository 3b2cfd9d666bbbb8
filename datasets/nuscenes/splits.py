"""The official nuScenes splits, and the scenes that CLIP2Scene and SLidR hold out from pre-training."""

from __future__ import annotations

import os
from pathlib import Path

from datasets.common.files import read_json
from scenelift.errors import DataError

TRAIN = """
    1-2 4-11 19-34 41-76 120-135 138-139 149-152 154-155 157-168 170-185 187-188 190-196 199-200 202-204
    206-214 218-220 222 224-264 283-306 315-318 321 323-324 328 347-386 388-403 405-408 410-459 461-465
    467-469 471-472 474-480 499-502 504-515 517-518 525-539 541-546 566 568 570-578 580 582-600 639-679 681
    683-689 695-698 700-701 703-719 726-728 730-731 733-741 744 746-747 749-752 757-765 767-769 786-787
    789-792 803-806 808-813 815-817 819-822 847-856 858 860-866 868-873 875-878 880 882-903 945 947 949
    952-953 955-961 975-984 988-992 994-1025 1044-1058 1074-1102 1104-1110
"""
VAL = """
    3 12-18 35-36 38-39 92-110 221 268-278 329-332 344-346 519-524 552-565 625-627 629-630 632-638 770-771
    775 777-778 780-784 794-800 802 904-917 919-931 962-963 966-969 971-972 1059-1073
"""
TEST = """
    77-91 111-119 140 142-148 265-266 279-282 307-314 333-343 481-498 547-551 601-604 606-624 827-831
    833-842 844-846 932-933 935-943 1026-1043
"""
MINI_TRAIN = "61 553 655 757 796 1077 1094 1100"
MINI_VAL = "103 916"
HOLDOUT = """
    8 9 19 29 32 42 45 49 52 54 56 66 67 73 131 152 166 168 183 190 194 208 210 211 241 243 248 259 260 261
    287 292 297 305 306 350 352 358 361 365 368 377 388 391 395 413 427 428 438 444 452 453 459 463 464 475
    513 533 544 575 587 589 642 652 658 669 678 687 701 703 706 710 715 726 735 740 758 786 790 804 806 847
    856 868 882 897 899 976 996 1012 1015 1016 1018 1020 1024 1044 1058 1094 1098 1107
"""
"""The scenes of train that SLidR calls "verifying"; pre-training uses the other 600."""


def scenes(numbers: str) -> frozenset[str]:
    """ "3 12-18" -> the scene names scene-0003, scene-0012, ..., scene-0018."""
    names: set[str] = set()
    for item in numbers.split():
        first, _, last = item.partition("-")
        names.update(f"scene-{number:04d}" for number in range(int(first), int(last or first) + 1))
    return frozenset(names)


def official() -> dict[str, frozenset[str]]:
    """Scene names by split."""
    train, holdout = scenes(TRAIN), scenes(HOLDOUT)
    return {
        "train": train,
        "val": scenes(VAL),
        "test": scenes(TEST),
        "mini_train": scenes(MINI_TRAIN),
        "mini_val": scenes(MINI_VAL),
        "pretrain": train - holdout,
        "holdout": holdout,
    }


def of_tree(tables: Path) -> dict[str, frozenset[str]]:
    """The splits of a tree: those of its own `splits.json` ({split: [scene names]}) or the official ones."""
    path = tables / "splits.json"
    if not os.path.lexists(path):
        return official()
    try:
        own = read_json(path)
        return {split: frozenset(_strings(names)) for split, names in own.items()}
    except (AttributeError, TypeError, DataError):
        raise DataError(f"{path} must be {{split: [scene names]}} as JSON") from None


def _strings(names: object) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError
    return names
