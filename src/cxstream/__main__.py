"""Lets `python -m cxstream` run the command line."""

from cxstream.cli import main

if __name__ == "__main__":
    main()
