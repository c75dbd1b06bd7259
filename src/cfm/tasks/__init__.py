"""Tasks and delete orders: their lives as tables, the books of them, and where they are kept."""
