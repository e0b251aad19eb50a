"""The model registry: bundles and index pointers, promoted and rolled back in one step, every decision on record."""
