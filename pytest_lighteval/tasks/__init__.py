"""What is asked: suite files, their tasks, and the names that choose among them."""
