"""Text classifiers, for graders that need one (`graders/classifier`)."""
