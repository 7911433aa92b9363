"""The command line: one thin command per face. Parse, call, print."""

import os

# Waiting threads must sleep, not spin, or two processes on one machine starve one another. OpenMP
# reads this once, when torch is imported, which every command does later than this line.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from terraloom.cli import pipeline, studies, tools
from terraloom.cli._app import app, main

__all__ = ["app", "main", "pipeline", "studies", "tools"]
