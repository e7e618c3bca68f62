"""Where students' code runs: started, limited and watched from outside."""
