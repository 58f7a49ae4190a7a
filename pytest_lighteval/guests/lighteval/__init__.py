"""Python modules of tasks that were written for Lighteval, with stand-ins for what they import from it."""
