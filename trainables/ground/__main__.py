"""The command `python -m trainables.ground`."""

from trainables.ground.run import main

if __name__ == "__main__":
    main()
