"""``python -m accord`` and ``accelerate launch -m accord``."""

from accord.cli import entry

if __name__ == "__main__":
    entry()
