"""The database side of the battle: the fixture documents, seeding, and a real mongod to run against.

Used by the bench and the tests. No app imports it.
"""
