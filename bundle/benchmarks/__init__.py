"""How fast is it here, against what the machine can do? One module a question; `command` has the table of goals."""
