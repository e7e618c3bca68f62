"""Networks as plain data: specs, the catalog, the layer table, canonical weights. Knows no framework."""
