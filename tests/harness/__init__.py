"""What the tests are run with: requests and waiting, the browser, sharing the machine, setting up."""
