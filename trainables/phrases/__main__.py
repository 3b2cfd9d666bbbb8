"""The command `python -m trainables.phrases`."""

from trainables.phrases.method import main

if __name__ == "__main__":
    main()
