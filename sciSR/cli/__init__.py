"""The ``scisr`` command: one module a command, none of them with any logic of its own."""
