"""What a command says and how it is called: parsing, progress, tables; standard library only."""
