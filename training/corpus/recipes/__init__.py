"""Recipes: small modules that turn one labelled data set each into rows of the corpus."""
