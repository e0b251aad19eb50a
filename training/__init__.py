"""The InF-IR corpus, losses and the trainer."""
