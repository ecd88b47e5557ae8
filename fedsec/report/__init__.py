"""Tables, figures and one page from run records. Nothing here trains, and nothing imports torch."""
