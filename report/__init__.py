"""What a warehouse shows to people: one page that opens from disk, and figures for print."""
