"""One question of the report each: its chart, its table and its sentence."""
