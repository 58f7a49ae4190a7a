"""Generated texts with transformers: in slots that rows enter and leave, or padded."""
