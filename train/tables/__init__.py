"""The paper's tables: protocols, equal budgets, one process a cell."""
