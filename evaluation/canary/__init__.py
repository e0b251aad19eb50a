"""Canary checks of a promoted service: the same questions to the stable and the candidate one, judged in pairs."""
