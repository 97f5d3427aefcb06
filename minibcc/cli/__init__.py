"""The command `minibcc`: a module per subcommand, loaded when it is asked for."""
