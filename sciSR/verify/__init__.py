"""Whether an output holds what it promises: geometry, flux, agreement, masks, metadata, provenance, format."""
