"""Every command by its name: `python -m hou_synth segment IMAGE...`."""

import sys

from hou_synth import commands

if __name__ == "__main__":
    sys.exit(commands.main())
