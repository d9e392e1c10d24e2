"""What other libraries call things: parameters of checkpoints, fields of config files. Tables, and how to read them."""
