"""The file of a battle's results."""
