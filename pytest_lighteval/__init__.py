"""Language models evaluated as pytest items, with Lighteval's tasks and scores. The values and the backend protocol are in `types`."""
