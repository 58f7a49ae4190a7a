"""What teams bring from other harnesses: thresholds become gates (`gates`), recorded runs become baselines (`lm_eval`)."""
