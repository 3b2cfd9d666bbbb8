"""The command `python -m trainables.table`."""

from trainables.table.run import main

if __name__ == "__main__":
    main()
