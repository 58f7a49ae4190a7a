"""What several engines share: where a model is, its tokenizer, requests as token ids, answers out of scores."""
