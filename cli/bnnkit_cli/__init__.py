"""The command line of bnnkit: parses, prints, and turns errors into exit codes; computes nothing itself."""
