"""The words that every layer shares: types, tables, registry."""
