"""The command `python -m trainables.distill`."""

from trainables.distill.method import main

if __name__ == "__main__":
    main()
