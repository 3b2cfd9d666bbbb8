"""The command `python -m trainables.teacher`."""

from trainables.teacher.run import main

if __name__ == "__main__":
    main()
