"""Language models evaluated as pytest items."""
