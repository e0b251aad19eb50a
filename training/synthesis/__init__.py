"""The paper's synthesis pipeline: instructions, poisoned twins and hard negatives, written and judged by models."""
