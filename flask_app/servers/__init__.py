"""The five servers: a file of settings for each, and the modules that they load the application from."""
