"""A search of the version before: it goes on, and trains nothing again."""

import shutil
from pathlib import Path

from tests.commands import ROOT
from tuning import __main__ as command
