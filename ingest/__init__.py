"""Raw files to the Parquet lake: grids, studies, readers, and the synthetic twin that writes raw files."""
