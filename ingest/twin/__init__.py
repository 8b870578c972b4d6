"""Synthetic twin: a small simulated world written in the sources' real file formats (demo data)."""

from ingest.twin.generate import Summary, generate
from ingest.twin.settings import TwinSettings
from ingest.twin.world import World, simulate

__all__ = ["Summary", "TwinSettings", "World", "generate", "simulate"]
