"""Statistics as pure functions on polars frames: no files, no database, no dbt."""
