"""A row becomes documents, a document becomes the prompt that the model is asked."""
