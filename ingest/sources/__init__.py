"""One module per file format; each holds the format's settings and its reader."""
