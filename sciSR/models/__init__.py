"""Networks: plain modules, their contract with the engine (`spec`), and their weights files (`files`)."""
