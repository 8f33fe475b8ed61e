"""``make faults``: what each stack does when the database, its workers, its clients or its machine misbehave."""
