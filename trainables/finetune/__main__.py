"""The command `python -m trainables.finetune`."""

from trainables.finetune.method import main

if __name__ == "__main__":
    main()
