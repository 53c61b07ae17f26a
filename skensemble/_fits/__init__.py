"""How fits run: one alone, or many in step."""
