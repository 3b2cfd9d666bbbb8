"""The command `python -m trainables.pretrain`."""

from trainables.pretrain.method import main

if __name__ == "__main__":
    main()
