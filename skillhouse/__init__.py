"""The commands: build, check, compare and open a study's warehouse."""
