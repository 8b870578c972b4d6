"""Writers of the twin's raw files, one module per kind of source."""
