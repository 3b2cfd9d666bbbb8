"""The command `python -m trainables.evaluate`."""

from trainables.evaluate.run import main

if __name__ == "__main__":
    main()
