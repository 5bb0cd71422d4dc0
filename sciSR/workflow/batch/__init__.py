"""Many items on one machine: worker processes, limits, the ledger, the summary."""
