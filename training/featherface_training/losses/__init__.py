"""Prior matching and the losses."""
