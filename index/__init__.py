"""Passages to index generations: FAISS IVF, passage store, search."""
