"""What a command says and how it is called: parsing, progress, tables; standard library only."""

__all__ = [
    "command_line",
    "prediction_request",
    "progress",
    "quiet_start",
    "run_command",
    "source_argument",
    "tables",
    "training_request",
]
